package files

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// maxPlain is how many bytes a compressed archive may have when it is decompressed.
const maxPlain = 64 << 30

// decompressed returns the file itself, or, when it is compressed, a file without a name
// that has what is in it: an archive can only be read here and there when it is plain.
func decompressed(file *os.File) (*os.File, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a file")
	}
	head := make([]byte, 4)
	n, err := file.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	in := bufio.NewReaderSize(io.NewSectionReader(file, 0, info.Size()), 1<<20)
	var plain io.Reader
	switch head = head[:n]; {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		if plain, err = gzip.NewReader(in); err != nil {
			return nil, fmt.Errorf("decompress: %w", err)
		}
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		d, err := zstd.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("decompress: %w", err)
		}
		defer d.Close()
		plain = d
	default:
		return file, nil
	}
	out, err := nameless()
	if err != nil {
		return nil, err
	}
	size, err := io.CopyN(out, plain, maxPlain+1)
	if err == nil && size > maxPlain {
		err = fmt.Errorf("more than the limit of %d bytes", int64(maxPlain))
	}
	if err != io.EOF {
		return nil, errors.Join(fmt.Errorf("decompress: %w", err), out.Close())
	}
	if _, err := out.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out, file.Close()
}

// nameless makes a file that vanishes when it is closed. /var/tmp comes first: /tmp is
// memory in osbuild's sandbox.
func nameless() (*os.File, error) {
	var errs []error
	for _, dir := range []string{os.Getenv("TMPDIR"), "/var/tmp", "/tmp"} {
		if dir == "" {
			continue
		}
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err == nil {
			return os.NewFile(uintptr(fd), "decompressed archive"), nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", dir, err))
	}
	return nil, fmt.Errorf("the archive is compressed, and there is no folder for a temporary file; set TMPDIR, or decompress it first: %w", errors.Join(errs...))
}
