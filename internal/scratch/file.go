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
		f, err := Unnamed(dir)
		if err == nil {
			return &File{f, dir}, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", dir, err))
	}
	return nil, &FileError{Err: errors.Join(errs...)}
}

// Unnamed creates a file without a name in dir, readable by its owner alone. On file systems without O_TMPFILE it creates
// and unlinks one.
func Unnamed(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), "temporary file"), nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) {
		return nil, err
	}
	f, err := os.CreateTemp(dir, ".osbuild-containers-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
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
