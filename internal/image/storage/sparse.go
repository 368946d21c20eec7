package storage

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"

	"github.com/klauspost/compress/gzip"
	tarsplit "github.com/vbatts/tar-split/tar/storage"

	"osbuild-containers/internal/hint"
)

const (
	// tarBlock is the block size of a tar archive, in bytes.
	tarBlock = 512

	// maxTarHeaders bounds the headers read before an entry. Longer ones are passed to the caller, which has its own
	// limits.
	maxTarHeaders = 4 << 20
)

// An Expander is a reader of a layer that may not be able to return the layer's archive.
type Expander interface {
	// Expand allows the reader to return an archive with the same entries but another digest. The reader calls
	// rewritten with the name of each file for which it does so, before the file's data. Expand must be called
	// before the first Read.
	Expand(rewritten func(name string))
}

// sparseReader returns the archive of a layer of a containers storage. The library keeps the archive's headers and reads
// the contents of files from the store. For files in GNU tar's sparse formats it also streams the holes, which no reader of
// archives expects; sparseReader removes them, so that the archive is the original one.
//
// The library loses the map of sparse format 1.0, which is stored before the data. Such files can only be returned with
// their holes, under a changed header.
type sparseReader struct {
	io.Closer
	in           *pushbackReader
	offset       int64                         // of the next byte of in
	openTarSplit func() (io.ReadCloser, error) // opens the library's tar-split data
	tarSplit     *splitReader
	rewritten    func(name string) // set by Expand

	header bytes.Buffer // headers of the entry
	// What to return next, in this order:
	out   []byte      // these bytes
	plain int64       // this many bytes of in
	skip  int64       // skip this many bytes of in
	zeros int64       // this many zeros
	holes *tar.Reader // a file with ones for data and zeros for holes
	left  int64       // bytes of that file
	data  int64       // data bytes of it so far
	ones  [32 << 10]byte
	buf   [32 << 10]byte
}

func newSparseReader(in io.ReadCloser, openTarSplit func() (io.ReadCloser, error)) *sparseReader {
	return &sparseReader{Closer: in, in: &pushbackReader{Reader: bufio.NewReaderSize(in, 64<<10)}, openTarSplit: openTarSplit}
}

// Expand implements Expander.
func (s *sparseReader) Expand(rewritten func(name string)) { s.rewritten = rewritten }

// Read implements io.Reader.
func (s *sparseReader) Read(p []byte) (int, error) {
	for {
		var err error
		switch {
		case len(s.out) > 0:
			n := copy(p, s.out)
			s.out = s.out[n:]
			return n, nil
		case s.plain > 0:
			n, err := s.in.Read(p[:min(int64(len(p)), s.plain)])
			s.plain -= int64(n)
			s.offset += int64(n)
			return n, err
		case s.skip > 0:
			_, err = io.CopyN(io.Discard, s.in, s.skip)
			s.offset += s.skip
			s.skip = 0
		case s.zeros > 0:
			s.out, s.zeros = make([]byte, s.zeros), 0
		case s.holes != nil:
			err = s.pack()
		default:
			err = s.next()
		}
		if err != nil {
			return 0, storedError(err)
		}
	}
}

// Close closes the layer and the tar-split data.
func (s *sparseReader) Close() error {
	if s.tarSplit != nil {
		return errors.Join(s.tarSplit.Close(), s.Closer.Close())
	}
	return s.Closer.Close()
}

// pack removes the holes from the next piece of a file.
func (s *sparseReader) pack() error {
	if s.left == 0 {
		if _, err := s.holes.Read(s.ones[:1]); err != io.EOF {
			return fmt.Errorf("a sparse file has more data than its size: %w", err)
		}
		s.holes, s.plain = nil, padding(s.data)
		return nil
	}
	n := min(s.left, int64(len(s.buf)))
	ones, buf := s.ones[:n], s.buf[:n]
	if _, err := io.ReadFull(s.holes, ones); err != nil {
		return fmt.Errorf("read the map of a sparse file: %w", err)
	}
	if _, err := io.ReadFull(s.in, buf); err != nil {
		return err
	}
	s.offset, s.left = s.offset+n, s.left-n
	s.out = buf[:0]
	for len(ones) > 0 {
		data := bytes.IndexByte(ones, 1)
		if data < 0 {
			break
		}
		ones, buf = ones[data:], buf[data:]
		hole := bytes.IndexByte(ones, 0)
		if hole < 0 {
			hole = len(ones)
		}
		s.out = append(s.out, buf[:hole]...)
		ones, buf = ones[hole:], buf[hole:]
	}
	s.data += int64(len(s.out))
	return nil
}

// next reads the headers of the next entry.
func (s *sparseReader) next() error {
	start := s.offset
	s.header.Reset()
	h, err := tar.NewReader(io.TeeReader(io.LimitReader(s.in, maxTarHeaders), &s.header)).Next()
	raw := s.header.Bytes()
	s.offset += int64(len(raw))
	s.out = raw
	switch {
	case err == io.EOF:
		if s.plain = math.MaxInt64; len(raw) == 0 {
			return io.EOF
		}
		return nil
	case err == nil && !sparse(h):
		s.plain = contentSize(h) + padding(contentSize(h))
		return nil
	case err == nil && !mapInData(h):
		s.fill(raw, h)
		return nil
	}
	// If the map is missing, what was read as the map is content.
	content, err2 := s.content(start)
	switch n := content - start; {
	case err2 != nil:
		return err2
	case err == nil && content == s.offset:
		s.fill(raw, h)
		return nil
	case n >= tarBlock && n <= int64(len(raw)):
		emptyMap := append([]byte("0\n"), make([]byte, tarBlock-2)...)
		h, err := tar.NewReader(io.MultiReader(bytes.NewReader(raw[:n]), bytes.NewReader(emptyMap))).Next()
		if err == nil && mapInData(h) {
			s.in.unread(raw[n:])
			s.offset = content
			return s.expand(h, raw[n-tarBlock:n])
		}
	}
	s.plain = math.MaxInt64 // pass on the rest unchanged
	return nil
}

// fill starts removing the holes of a file with these headers.
func (s *sparseReader) fill(raw []byte, h *tar.Header) {
	s.holes = tar.NewReader(io.MultiReader(bytes.NewReader(bytes.Clone(raw)), ones{}))
	_, _ = s.holes.Next() // these headers were parsed before
	s.left, s.data = h.Size, 0
}

// expand starts returning a file whose map is missing, with its holes. The last header has the size of the data in the
// archive.
func (s *sparseReader) expand(h *tar.Header, last []byte) error {
	if s.rewritten == nil {
		return hint.Add(fmt.Errorf("the layer's archive cannot be written again: %q in it has GNU tar's sparse format 1.0, whose map a containers storage does not keep", h.Name),
			"use the image from its registry, or pack the layer without --sparse")
	}
	plain, err := tar.NewReader(bytes.NewReader(last)).Next()
	if err != nil {
		return fmt.Errorf("%q: %w", h.Name, err)
	}
	size := plain.Size
	if text := h.PAXRecords["size"]; text != "" {
		if size, err = strconv.ParseInt(text, 10, 64); err != nil {
			return fmt.Errorf("%q: %w", h.Name, err)
		}
	}
	h.Typeflag, h.Format = tar.TypeReg, tar.FormatPAX
	var header bytes.Buffer
	if err := tar.NewWriter(&header).WriteHeader(h); err != nil { // it drops the sparse fields
		return fmt.Errorf("%q: %w", h.Name, err)
	}
	nameLikeGNU(header.Bytes())
	s.rewritten(h.Name)
	s.out, s.plain, s.skip, s.zeros = header.Bytes(), h.Size, padding(size), padding(h.Size)
	return nil
}

// nameLikeGNU renames the extended header at the start of headers as GNU tar does. In archives of GNU tar, names of attributes
// are encoded.
func nameLikeGNU(headers []byte) {
	const name, sum, digits = 100, 148, 6
	at := bytes.Index(headers[:name], []byte("PaxHeaders.0/"))
	n, err := strconv.ParseUint(string(headers[sum:sum+digits]), 8, 32)
	if at < 0 || err != nil {
		return
	}
	headers[at+len("PaxHeaders.")]++ // GNU tar puts its process ID here, which is never 0
	copy(headers[sum:], fmt.Sprintf("%0*o", digits, n+1))
}

// content returns the offset of the content of the entry whose headers start at start, or -1 if unknown.
func (s *sparseReader) content(start int64) (int64, error) {
	if s.tarSplit == nil {
		r, err := s.openTarSplit()
		if errors.Is(err, os.ErrNotExist) {
			return -1, nil
		}
		if err == nil {
			s.tarSplit, err = newSplitReader(r)
		}
		if err != nil {
			return -1, fmt.Errorf("read what the storage keeps of the layer's archive: %w", err)
		}
	}
	return s.tarSplit.content(start)
}

// sparse reports whether a file is in one of GNU tar's sparse formats.
func sparse(h *tar.Header) bool {
	return h.Typeflag == tar.TypeGNUSparse || mapInData(h) || h.PAXRecords["GNU.sparse.map"] != "" || h.PAXRecords["GNU.sparse.numblocks"] != ""
}

// mapInData reports whether the map of holes is stored before the data.
func mapInData(h *tar.Header) bool { return h.PAXRecords["GNU.sparse.major"] == "1" }

// contentSize returns how many bytes follow the headers.
func contentSize(h *tar.Header) int64 {
	switch h.Typeflag {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo, tar.TypeXGlobalHeader:
		return 0
	}
	return h.Size
}

// padding returns how many bytes follow size bytes of content.
func padding(size int64) int64 { return -size & (tarBlock - 1) }

// storedError marks an error as one of a storage, except io.EOF.
func storedError(err error) error {
	if err == io.EOF {
		return err
	}
	if err == io.ErrUnexpectedEOF {
		err = errors.New("the archive ends in the middle of a file")
	}
	return Mark(err)
}

// pushbackReader is a reader that can take back bytes.
type pushbackReader struct {
	*bufio.Reader
	back []byte
}

func (u *pushbackReader) Read(p []byte) (int, error) {
	if len(u.back) > 0 {
		n := copy(p, u.back)
		u.back = u.back[n:]
		return n, nil
	}
	return u.Reader.Read(p)
}

func (u *pushbackReader) unread(p []byte) { u.back = append(bytes.Clone(p), u.back...) }

// WriteTo hides bufio's, which would ignore bytes taken back.
func (u *pushbackReader) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{u})
}

// ones is an endless reader of ones.
type ones struct{}

func (ones) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 1
	}
	return len(p), nil
}

// splitReader reads the library's tar-split data: the offsets of headers and the sizes of contents.
type splitReader struct {
	io.Closer
	entries tarsplit.Unpacker
	offset  int64
}

func newSplitReader(r io.ReadCloser) (*splitReader, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return &splitReader{Closer: r, entries: tarsplit.NewJSONUnpacker(z)}, nil
}

// content returns the offset of the first content after start, or -1 if there is none. start must not decrease between
// calls.
func (n *splitReader) content(start int64) (int64, error) {
	for {
		e, err := n.entries.Next()
		if err == io.EOF {
			return -1, nil
		}
		if err != nil {
			return -1, fmt.Errorf("read what the storage keeps of the layer's archive: %w", err)
		}
		switch at := n.offset; e.Type {
		case tarsplit.SegmentType:
			n.offset += int64(len(e.Payload))
		case tarsplit.FileType:
			n.offset += e.Size
			if at > start {
				return at, nil
			}
		}
	}
}
