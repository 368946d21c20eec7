package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
)

// Reader reads untrusted tar archives. It checks each entry against the limits before it returns the entry or the bytes
// after it.
type Reader struct {
	in     *meter
	t      *tar.Reader
	stream *Stream // nil if the archive is not a layer
	image  *Tally
	count  int
	left   int64 // bytes left for files
	gnu    bool  // the last extended header was written by GNU tar

	direct  bool  // the file's content is read from the stream, not through t
	content int64 // bytes of it not read yet
}

// ErrCutOff is returned for an archive that ends too early.
var ErrCutOff = errors.New("the archive ends in the middle of an entry")

// meter counts what the tar reader reads. The tar reader seeks over the content of files.
type meter struct {
	io.ReadSeeker
	content bool          // the tar reader is in the content of a file
	headers int64         // header bytes read for the entry
	max     int64         // limit for headers
	raw     *bytes.Buffer // gets the header bytes, if not nil
	offset  int64         // in the archive
	first   []byte        // first header of the entry, which may be an extended header
	passed  int64         // bytes of content read from the stream, bypassing the tar reader
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
		// The tar reader seeks over unread content up to its last byte, which it reads. That byte must not count:
		// otherwise the limit would depend on how much content the caller reads.
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

// keep keeps the first header of an entry. The end of the previous content, and zeros up to the next block, may come
// before it.
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

// NewReader returns a Reader of an archive that is not a layer.
func NewReader(r io.ReadSeeker, image *Tally) *Reader {
	in := &meter{ReadSeeker: r}
	return &Reader{in: in, t: tar.NewReader(in), image: image, left: image.limits.LayerBytes}
}

// Entries returns a Reader of the stream's entries.
func (s *Stream) Entries() *Reader {
	r := NewReader(s, s.image)
	r.stream = s
	return r
}

// Pass is Entries, but also passes the archive on: it calls to with each piece once all entries whose headers end in or
// before it have been checked against the limits. A piece must not be used after to returns; an error of to ends the
// stream. Unless raw is nil, it gets the archive without the content of files, provided that all content is read.
func (s *Stream) Pass(to func(piece []byte) error, raw *bytes.Buffer) *Reader {
	s.pass = to
	r := s.Entries()
	r.in.raw = raw
	return r
}

// Next returns the next entry. After the last one it reads the rest of the archive, and returns io.EOF if it is valid.
func (r *Reader) Next() (*Entry, error) {
	_, e, err := r.NextHeader()
	return e, err
}

// NextHeader is Next for callers that also need the tar header.
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
		if h.Typeflag == tar.TypeXGlobalHeader { // a comment, written by git archive
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

// skip skips the unread content of a file.
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

// check checks an entry against the limits. headers is the size of its headers in bytes.
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

// Flush passes on what has been read so far of a stream read with Pass.
func (r *Reader) Flush() error { return r.stream.flush() }

// Read reads the content of the file returned by Next.
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

// Piece returns the next piece of the content of the file returned by Next, in buf or in memory of the stream. It is
// valid until the next call.
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
				return r.damage(errors.New("there is data after the end of the archive"))
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

// damage returns a mismatch of the digests instead of err, if there is one: that explains an invalid archive better than
// its position.
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
	r.stream.pass = nil // do not pass on an invalid archive
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
