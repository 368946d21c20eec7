package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/panics"
)

// TempError is a failure to write a temporary file: nothing is wrong with what was to be read.
type TempError struct {
	Dir string // where it was to be; "" if no directory could be used
	Err error
}

func (e *TempError) Error() string {
	if e.Dir == "" {
		return fmt.Sprintf("no directory for a temporary file: %v", e.Err)
	}
	return fmt.Sprintf("write a temporary file in %s: %v", e.Dir, e.Err)
}

// Hint is the remedy.
func (e *TempError) Hint() hint.Hint {
	if e.Dir == "" {
		return hint.New("set TMPDIR")
	}
	return hint.New("make room there, or set TMPDIR")
}

func (e *TempError) Unwrap() error { return e.Err }

// temporary is a file that vanishes when it is closed.
type temporary struct {
	*os.File
	dir string
}

// newTemporary makes a temporary file. /var/tmp comes first: /tmp is memory in osbuild's sandbox.
func newTemporary() (*temporary, error) {
	var errs []error
	for _, dir := range []string{os.Getenv("TMPDIR"), "/var/tmp", "/tmp"} {
		if dir == "" {
			continue
		}
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err == nil {
			return &temporary{os.NewFile(uintptr(fd), "temporary file"), dir}, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", dir, err))
	}
	return nil, &TempError{Err: errors.Join(errs...)}
}

// Write implements io.Writer. Its errors are TempErrors.
func (t *temporary) Write(p []byte) (int, error) {
	n, err := t.File.Write(p)
	if err != nil {
		if path, ok := errors.AsType[*os.PathError](err); ok {
			err = path.Err
		}
		err = &TempError{t.dir, err}
	}
	return n, err
}

// spool copies a stream into a temporary file. It ends when ctx does, also while it waits for the stream.
func spool(ctx context.Context, open func() (io.ReadCloser, error)) (*os.File, error) {
	out, err := newTemporary()
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() {
		done <- panics.Catch(func() error {
			in, err := open()
			if err != nil {
				return err
			}
			defer in.Close()
			_, err = io.CopyBuffer(struct{ io.Writer }{out}, untilDone{ctx, in}, make([]byte, 1<<20))
			return err
		})
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		return nil, context.Cause(ctx) // the file is closed with the process, which is what ends it
	}
	if err == nil {
		_, err = out.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out.File, nil
}
