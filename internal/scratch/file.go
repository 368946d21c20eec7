package scratch

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
)

// FileError is a failure to write a temporary file, as opposed to an error of the input.
type FileError struct {
	Dir string // directory; "" if none could be used
	Err error
}

func (e *FileError) Error() string {
	if e.Dir == "" {
		return fmt.Sprintf("no directory for a temporary file: %v", e.Err)
	}
	return fmt.Sprintf("write a temporary file in %s: %v", e.Dir, e.Err)
}

// Hint implements the interface of package hint.
func (e *FileError) Hint() hint.Hint {
	if e.Dir == "" {
		return hint.New("set TMPDIR")
	}
	return hint.New("make room there, or set TMPDIR")
}

func (e *FileError) Unwrap() error { return e.Err }

// A File is an unnamed temporary file, which disappears when it is closed.
type File struct {
	*os.File
	dir string
}

// NewFile creates a temporary file, preferably in /var/tmp: /tmp is in memory in osbuild's sandbox.
func NewFile() (*File, error) {
	var errs []error
	for _, dir := range []string{os.Getenv("TMPDIR"), "/var/tmp", "/tmp"} {
		if dir == "" {
			continue
		}
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err == nil {
			return &File{os.NewFile(uintptr(fd), "temporary file"), dir}, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", dir, err))
	}
	return nil, &FileError{Err: errors.Join(errs...)}
}

// Write implements io.Writer. Its errors are FileErrors.
func (t *File) Write(p []byte) (int, error) {
	n, err := t.File.Write(p)
	if err != nil {
		if path, ok := errors.AsType[*os.PathError](err); ok {
			err = path.Err
		}
		err = &FileError{t.dir, err}
	}
	return n, err
}
