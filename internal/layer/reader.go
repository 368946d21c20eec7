package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
)

// Reader is the one reader of foreign tar archives. It returns their entries one by one, and
// none, nor the bytes behind it, that is not within the limits.
type Reader struct {
	in     *meter
	t      *tar.Reader
	stream *Stream // nil if the archive is not that of a layer
	image  *Tally
	count  int
	left   int64 // bytes that files may still declare
	gnu    bool  // the last extended header was GNU tar's

	direct  bool  // the content of the file is taken from the stream, and not through t
	content int64 // bytes of it that were not taken yet
}

// ErrCutOff is the error for an archive that ends too early.
var ErrCutOff = errors.New("the archive ends in the middle of an entry")

// meter is what the tar reader reads, which seeks over the content of files.
type meter struct {
	io.ReadSeeker
	content bool          // what is read is the content of a file
	headers int64         // bytes of the rest that were read
	max     int64         // that they may become
	raw     *bytes.Buffer // gets the rest, unless it is nil
	offset  int64         // in the archive
	first   []byte        // the first header of the entry, of its extended headers if it has any
	passed  int64         // bytes of content that were taken from the stream without the tar reader
}

func (m *meter) Read(p []byte) (int, error) {
	if m.passed > 0 {
		n := min(int64(len(p)), m.passed)
		m.passed -= n
		return int(n), nil
	}
	if !m.content && m.headers >= m.max {
		return 0, &LimitError{"bytes in the headers of an entry", maxHeaders}
	}
	n, err := m.ReadSeeker.Read(p)
	if !m.content {
		// The tar reader seeks over content that was not read up to its last byte, which it reads. That must not
		// count: whether a layer is refused would depend on how much of it is read.
		if len(p) > 1 {
			m.headers += int64(n)
		}
		m.keep(p[:n])
		if m.raw != nil {
			m.raw.Write(p[:n])
		}
	}
	m.offset += int64(n)
	return n, err
}

// Seek is called by the tar reader only, to skip content.
func (m *meter) Seek(offset int64, whence int) (int64, error) {
	n := min(offset, m.passed)
	m.passed -= n
	pos, err := m.ReadSeeker.Seek(offset-n, whence)
	if err == nil && whence == io.SeekCurrent {
		m.offset += offset - n
	}
	return pos - m.passed, err
}

// keep keeps the first header of what was read for an entry, in which the end of the
// content before it, and zeros up to the next block, may come first.
func (m *meter) keep(p []byte) {
	for at := m.offset; len(p) > 0; {
		if len(m.first) == tarBlock && m.first[typeflagAt] != 0 {
			return
		}
		inBlock := int(at % tarBlock)
		if inBlock == 0 {
			m.first = m.first[:0]
		}
		n := min(len(p), tarBlock-inBlock)
		m.first = append(m.first, p[:n]...)
		p, at = p[n:], at+int64(n)
	}
}

// NewReader reads the entries of an archive that is not the layer of an image.
func NewReader(r io.ReadSeeker, image *Tally) *Reader {
	in := &meter{ReadSeeker: r}
	return &Reader{in: in, t: tar.NewReader(in), image: image, left: image.limits.LayerBytes}
}

// Entries reads the entries of the stream.
func (s *Stream) Entries() *Reader {
	r := NewReader(s, s.image)
	r.stream = s
	return r
}

// Pass reads the entries as Entries does, and passes the archive on: it calls to with each
// piece once all entries whose headers end in it, or before it, are known to be within the
// limits. A piece is not used after to returns. An error of to ends the stream. Unless
// raw is nil, it gets the rest of the archive where the content of all files is read.
func (s *Stream) Pass(to func(piece []byte) error, raw *bytes.Buffer) *Reader {
	s.pass = to
	r := s.Entries()
	r.in.raw = raw
	return r
}

// Next returns the next entry. After the last one it reads the archive to its end
// and returns io.EOF when all is right.
func (r *Reader) Next() (*Entry, error) {
	_, e, err := r.NextHeader()
	return e, err
}

// NextHeader is Next for callers that need the entry's header, too.
func (r *Reader) NextHeader() (*tar.Header, *Entry, error) {
	if err := r.skip(); err != nil {
		return nil, nil, err
	}
	r.in.content = false
	r.in.max = r.in.headers + maxHeaders
	for {
		before := r.in.headers
		r.in.first = r.in.first[:0]
		h, err := r.t.Next()
		switch {
		case err == nil, errors.Is(err, tar.ErrInsecurePath):
		case err == io.EOF:
			return nil, nil, r.end()
		case errors.Is(err, tar.ErrFieldTooLong):
			return nil, nil, &LimitError{"bytes in an extended header", 1 << 20}
		default:
			return nil, nil, r.damage(err)
		}
		if err := r.image.Entry(); err != nil {
			return nil, nil, err
		}
		if h.Typeflag == tar.TypeXGlobalHeader { // a comment, as git archive writes it
			if err := r.image.names(r.in.headers - before); err != nil {
				return nil, nil, err
			}
			continue
		}
		e, err := r.entry(h)
		if err != nil {
			return nil, nil, fmt.Errorf("%.100q: %w", h.Name, err)
		}
		if err := r.check(e, r.in.headers-before); err != nil {
			return nil, nil, err
		}
		if r.direct = e.Type == File && !e.Sparse && r.stream != nil && r.in.raw == nil; r.direct {
			r.content = e.Size
		}
		return h, e, nil
	}
}

// skip steps over what was not taken of the content of a file.
func (r *Reader) skip() error {
	if !r.direct || r.content == 0 {
		return nil
	}
	if _, err := r.stream.Seek(r.content, io.SeekCurrent); err != nil {
		return r.damage(err)
	}
	r.took(r.content)
	return nil
}

func (r *Reader) took(n int64) {
	r.content -= n
	r.in.offset += n
	r.in.passed += n
}

// check compares an entry, whose headers have so many bytes, with the limits.
func (r *Reader) check(e *Entry, headers int64) error {
	if err := r.image.limits.path(e.Name); err != nil {
		return err
	}
	if len(e.Link) > maxPath {
		return fmt.Errorf("%.100q: %w", e.Name, &LimitError{"bytes in a link's target", maxPath})
	}
	names := int64(len(e.Name) + len(e.Link))
	for name, value := range e.Xattrs {
		names += int64(len(name) + len(value))
	}
	if err := r.image.names(max(names, headers-plainHeader)); err != nil {
		return err
	}
	if e.Size > r.left {
		return fmt.Errorf("%q: %w", e.Name, &LimitError{"bytes in the layer's files", r.image.limits.LayerBytes})
	}
	r.left -= e.Size
	return r.image.file(e.Size)
}

// Flush passes on what was read so far, of a stream that is read with Pass.
func (r *Reader) Flush() error { return r.stream.flush() }

// Read reads the content of the file that Next returned.
func (r *Reader) Read(p []byte) (int, error) {
	if r.direct {
		b, err := r.piece(len(p))
		return copy(p, b), err
	}
	r.in.content = true
	n, err := r.t.Read(p)
	if err != nil && err != io.EOF {
		err = r.damage(err)
	}
	return n, err
}

// Piece returns what follows of the content of the file that Next returned. It is in buf,
// or in memory of the stream, and right until the next call.
func (r *Reader) Piece(buf []byte) ([]byte, error) {
	if r.direct {
		return r.piece(len(buf))
	}
	n, err := r.Read(buf)
	return buf[:n], err
}

func (r *Reader) piece(most int) ([]byte, error) {
	if r.content == 0 {
		return nil, io.EOF
	}
	err := r.stream.next()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, r.damage(err)
	}
	b := r.stream.cur.data
	b = b[:min(int64(len(b)), int64(most), r.content)]
	r.stream.step(len(b))
	r.took(int64(len(b)))
	return b, nil
}

// end reads what follows the archive: zeros, up to the block size of a tape.
func (r *Reader) end() error {
	r.in.max = math.MaxInt64
	buf := make([]byte, 32<<10)
	for left := maxTail; ; {
		n, err := r.in.Read(buf)
		for _, b := range buf[:n] {
			if b != 0 {
				return r.damage(errors.New("there is more after the end of the archive"))
			}
		}
		if left -= n; left < 0 {
			return &LimitError{"bytes after the end of the archive", maxTail}
		}
		if err != nil {
			return err
		}
	}
}

// damage looks for the reason of err: that the layer is not the one that the image names
// says more than where the archive is invalid.
func (r *Reader) damage(err error) error {
	var mismatch *MismatchError
	if r.stream != nil && r.stream.passed != nil {
		return r.stream.passed
	}
	if errors.As(err, &mismatch) || errors.As(err, new(*LimitError)) {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = ErrCutOff
	}
	if r.stream == nil {
		return err
	}
	r.stream.pass = nil // what makes no sense is not passed on
	buf := make([]byte, 32<<10)
	for {
		if _, e := r.stream.Read(buf); e != nil {
			if errors.As(e, &mismatch) {
				return errors.Join(e, err)
			}
			return err
		}
	}
}
