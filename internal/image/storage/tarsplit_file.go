package storage

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/layer"
	"osbuild-containers/internal/scratch"
)

// maxTarSplit limits a layer's tar-split data, in bytes, compressed: 4,000,000 entries need less than half of it.
const maxTarSplit = 1 << 30

// maxHeaders limits the compressed headers of a layer, in bytes, if the library keeps the tar-split data in memory while
// unpacking: with all drivers but overlay. 4,000,000 entries of a typical image need less. Tests lower it.
var maxHeaders int64 = 256 << 20

// splitFile is the store's record of a layer's archive (tar-split data), compressed: an unnamed file on the store's disk until
// it is complete and the layer is added.
type splitFile struct {
	file *os.File
	buf  *bufio.Writer
	zip  *gzip.Writer
}

// newSplitFile creates the file in the store's directory of layers, with a limit in bytes.
func newSplitFile(dir string, limit int64) (*splitFile, error) {
	file, err := scratch.Unnamed(dir)
	if err != nil {
		return nil, fmt.Errorf("make temporary file in %s: %w", dir, err)
	}
	buf := bufio.NewWriterSize(&bounded{file, limit, limit}, bufferSize)
	return &splitFile{file: file, buf: buf, zip: newZip(buf)}, nil
}

func newZip(w io.Writer) *gzip.Writer {
	zip, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level exists
	}
	return zip
}

// bounded writes the compressed headers of a layer, up to a limit.
type bounded struct {
	to          io.Writer
	left, limit int64 // bytes
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, &layer.LimitError{What: "compressed bytes in the headers of the layer", Limit: b.limit}
	}
	return b.to.Write(p)
}

// finish flushes and closes the compressor.
func (n *splitFile) finish() error {
	if err := n.zip.Close(); err != nil {
		return fmt.Errorf("write headers of the layer: %w", err)
	}
	if err := n.buf.Flush(); err != nil {
		return fmt.Errorf("write headers of the layer: %w", err)
	}
	return nil
}

// publish links the file under the name at which the store expects it, replacing that of a killed process.
func (n *splitFile) publish(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	fd := fmt.Sprintf("/proc/self/fd/%d", n.file.Fd())
	err := unix.Linkat(unix.AT_FDCWD, fd, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EXDEV) { // no /proc, or the file had a name
		err = n.copy(path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

func (n *splitFile) copy(path string) error {
	if _, err := n.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, n.file)
	return errors.Join(err, out.Close())
}

// Close closes the file, which disappears unless published.
func (n *splitFile) Close() error { return n.file.Close() }
