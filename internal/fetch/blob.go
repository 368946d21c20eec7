package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/retry"
)

// blob is one blob on its way into the pool.
type blob struct {
	*session
	manifest.Descriptor
	bar      *progress.Blob
	w        *cache.Writer
	op       *retry.Operation
	damaged  bool // it was started again from its beginning
	noRange  bool // the server cannot continue in the middle
	resumed  int64
	download bool // the bar says so
}

// blob brings one blob into the pool: it is there, or was published without the pool, or another
// process brings it, or it is downloaded.
func (s *session) blob(ctx context.Context, pool *cache.Pool, d manifest.Descriptor, bar *progress.Blob) error {
	it := s.it
	w, err := it.reuse(ctx, pool, d, func() (*os.File, error) { return it.cache.OpenImageBlob(it.ID, d.Digest) }, bar)
	if errors.Is(err, cache.ErrExists) {
		return nil
	}
	if err != nil {
		return err
	}
	defer w.Close()
	b := &blob{session: s, Descriptor: d, bar: bar, w: w}
	b.op = it.tries.New(func(attempt int, wait time.Duration, err error) { bar.Retry(attempt, wait, err) })
	if err := b.fetch(ctx); err != nil {
		return fmt.Errorf("blob %s: %w", d.Digest, err)
	}
	if err := w.Commit(); err != nil {
		return fmt.Errorf("blob %s: %w", d.Digest, err)
	}
	bar.Done()
	return nil
}

// fetch downloads what is missing and verifies the whole.
func (b *blob) fetch(ctx context.Context) error {
	var err error
	if b.resumed, err = b.w.Resume(ctx); err != nil {
		return err
	}
	b.it.reused.Add(b.resumed)
	b.op.StartAt(b.resumed)
	var src image.Source
	b.op.Renew = func(ctx context.Context) error { return b.renew(ctx, b.op, src) }
	return b.op.Do(ctx, func(ctx context.Context) error {
		src = b.source()
		return b.inSlot(ctx, func() error {
			for {
				err := b.try(ctx, src)
				if again, e := b.restart(src, err); !again {
					return e
				}
			}
		})
	})
}

// inSlot runs a download when one of the slots is free. While a blob waits for another try, or
// for the disk, its slot is free for others.
func (b *blob) inSlot(ctx context.Context, download func() error) error {
	queued := time.Now()
	queues := []chan struct{}{b.it.slots}
	if image.TransportOf(b.it.Image.Transport).Unpacked {
		queues = []chan struct{}{b.it.stores, b.it.slots}
	}
	for _, queue := range queues {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		select {
		case queue <- struct{}{}:
			defer func() { <-queue }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	b.op.Excuse(time.Since(queued))
	return download()
}

// readAgain reports whether a blob that was wrong is read again from its beginning: from the next location, if there
// is one, or else once, since it may have been damaged by a crash or on its way.
func readAgain(elsewhere bool, damaged *bool) bool {
	if elsewhere {
		return true
	}
	again := !*damaged
	*damaged = true
	return again
}

// restart decides to start the blob again from its beginning: once if the server cannot continue in the middle, or as
// readAgain says.
func (b *blob) restart(src image.Source, err error) (again bool, _ error) {
	wrong := manifest.IsMismatch(err)
	switch {
	case errors.Is(err, registry.ErrRange) && !b.noRange:
		b.noRange = true
	case wrong && readAgain(image.Elsewhere(src, registry.Blob, b.Digest), &b.damaged):
		b.noRange = false
	case errors.Is(err, registry.ErrContent) && readAgain(false, &b.damaged):
	default:
		return false, err
	}
	if e := b.begin(0); e != nil {
		return false, e
	}
	b.it.tries.AddAttempt()
	b.bar.Retry(b.op.Failed()+1, 0, fmt.Errorf("%w; starting again from the beginning", err))
	return true, nil
}

// begin sets the blob back to what a reader that starts at offset can continue from.
func (b *blob) begin(offset int64) error {
	if offset == b.w.Offset() {
		return nil
	}
	b.it.reused.Add(-b.resumed)
	b.resumed = 0
	b.bar.Reset(0)
	return b.w.Reset()
}

// try downloads from where the blob is to its end, and verifies it.
func (b *blob) try(ctx context.Context, src image.Source) error {
	if b.w.Offset() < b.Size || b.Size == 0 {
		if err := b.read(ctx, src); err != nil {
			return err
		}
	}
	return b.w.Verify()
}

func (b *blob) read(ctx context.Context, src image.Source) error {
	if b.noRange {
		if err := b.begin(0); err != nil {
			return err
		}
	}
	w := b.op.Watch(ctx)
	r, start, err := src.Blob(w.Traced(), b.Descriptor, b.w.Offset())
	if err != nil {
		return w.Stop(err)
	}
	defer r.Close()
	if err := b.begin(start); err != nil {
		return w.Stop(err)
	}
	b.say(start)
	_, err = b.w.ReadFrom(&counter{r: r, b: b, w: w})
	if err == nil && b.w.Offset() < b.Size {
		err = fmt.Errorf("answer ended early: got %d bytes, want %d%.0w", b.w.Offset(), b.Size, io.ErrUnexpectedEOF)
	}
	return w.Stop(err)
}

func (b *blob) say(start int64) {
	switch {
	case start > 0:
		b.bar.Resuming(start)
	case !b.download:
		b.bar.Downloading()
	}
	b.download = true
}

// counter sees the bytes of a download pass.
type counter struct {
	r io.Reader
	b *blob
	w *retry.Watch
}

func (c *counter) Read(p []byte) (int, error) {
	if c.w.Err() != nil { // a reader of a storage knows no context
		return 0, context.Cause(c.w)
	}
	n, err := c.r.Read(p)
	if n > 0 {
		c.w.Moved(n)
		c.b.bar.Add(int64(n))
		c.b.it.bytes.Add(int64(n))
		c.b.op.Reached(c.b.w.Offset() + int64(n))
	}
	return n, err
}
