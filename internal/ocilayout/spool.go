package ocilayout

import (
	"context"
	"errors"
	"io"
	"os"

	"osbuild-containers/internal/ctxio"
	"osbuild-containers/internal/panics"
	"osbuild-containers/internal/scratch"
)

// spool copies a stream to a temporary file. It returns when ctx is done, even while waiting for the stream.
func spool(ctx context.Context, open func() (io.ReadCloser, error)) (*os.File, error) {
	out, err := scratch.NewFile()
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
			_, err = io.CopyBuffer(struct{ io.Writer }{out}, ctxio.Reader(ctx, in), make([]byte, 1<<20))
			return err
		})
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		return nil, context.Cause(ctx) // the process is about to exit, which closes the file
	}
	if err == nil {
		_, err = out.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out.File, nil
}
