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

// spool copies a stream into a temporary file. It ends when ctx does, also while it waits for the stream.
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
