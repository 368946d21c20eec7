package scratch

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
)

// FileError is a failure to write a temporary file: nothing is wrong with what was to be read.
type FileError struct {
	Dir string // where it was to be; "" if no directory could be used
	Err error
}

func (e *FileError) Error() string {
	if e.Dir == "" {
		return fmt.Sprintf("no directory for a temporary file: %v", e.Err)
	}
	return fmt.Sprintf("write a temporary file in %s: %v", e.Dir, e.Err)
}

// Hint is the remedy.
func (e *FileError) Hint() hint.Hint {
	if e.Dir == "" {
		return hint.New("set TMPDIR")
	}
	return hint.New("make room there, or set TMPDIR")
}

func (e *FileError) Unwrap() error { return e.Err }

// A File is a temporary file without a name: it vanishes when it is closed.
type File struct {
	*os.File
	dir string
}

// NewFile creates a temporary file. /var/tmp comes first: /tmp is memory in osbuild's sandbox.
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
