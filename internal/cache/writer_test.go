package cache

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"osbuild-containers/internal/manifest"
)

// acquire acquires the blob, which must be free and missing.
func acquire(t testing.TB, p *Pool, b []byte) *Writer {
	t.Helper()
	d := descriptor(b)
	w, err := p.Acquire(t.Context(), d.Digest, d.Size, func() { t.Error("waits") })
	must(t, err)
	t.Cleanup(func() { w.Close() })
	return w
}

// pooled is what the pool has by the name of b.
func pooled(p *Pool, b []byte) []byte {
	got, _ := os.ReadFile(p.path(descriptor(b).Digest))
	return got
}

func partialOf(p *Pool, b []byte) string {
	return filepath.Join(p.partial.path, descriptor(b).Digest.Encoded())
}

func TestOnlyTheRightBytesGetTheName(t *testing.T) {
	right := content(1, 10_000)
	flipped := bytes.Clone(right)
	flipped[5000] ^= 1
	for name, c := range map[string]struct {
		write []byte
		wrong bool
		text  string
	}{
		"right":    {write: right},
		"flipped":  {flipped, true, "digest mismatch: got sha256:"},
		"short":    {right[:9_999], true, "size mismatch: got 9999 bytes, want 10000"},
		"long":     {append(bytes.Clone(right), 0), true, "size mismatch: got more than 10000 bytes"},
		"nothing":  {nil, true, "size mismatch: got 0 bytes, want 10000"},
		"far more": {content(1, 1<<20), true, "size mismatch: got more than 10000 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, p := newCache(t)
			w := acquire(t, p, right)
			_, err := w.ReadFrom(bytesReader(c.write))
			if pooled(p, right) != nil {
				t.Error("visible before commit")
			}
			if err == nil {
				err = w.Commit()
			}
			if manifest.IsMismatch(err) != c.wrong || err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("error is %v, want %q", err, c.text)
			}
			if got := pooled(p, right); (!c.wrong) != bytes.Equal(got, right) || c.wrong && got != nil {
				t.Errorf("%d bytes are visible", len(got))
			}
			d := descriptor(right)
			if has := p.Has(d.Digest, d.Size); has != (!c.wrong) {
				t.Errorf("Has says %t", has)
			}
		})
	}
}

func TestEmptyBlob(t *testing.T) {
	_, p := newCache(t)
	must(t, put(p, nil))
	if d := descriptor(nil); !p.Has(d.Digest, 0) {
		t.Error("it is not in the pool")
	}
}

// What Close keeps is what the next writer can continue with.
func TestCloseKeepsWhatCanBeContinued(t *testing.T) {
	b := content(2, 100_000)
	for name, c := range map[string]struct {
		do   func(*Writer) error
		kept int64
	}{
		"nothing written":  {func(*Writer) error { return nil }, -1},
		"a part":           {func(w *Writer) error { return w.append(b[:70_000]) }, 70_000},
		"all, not checked": {func(w *Writer) error { return w.append(b) }, 100_000},
		"a part, reset": {func(w *Writer) error {
			return errors.Join(w.append(b[:70_000]), w.Reset())
		}, -1},
		"all, wrong": {func(w *Writer) error {
			if err := w.append(content(3, len(b))); err != nil {
				return err
			}
			if err := w.Verify(); !manifest.IsMismatch(err) {
				return errors.New("the wrong blob is taken for right")
			}
			return nil
		}, -1},
		"committed": {func(w *Writer) error { return errors.Join(w.append(b), w.Commit()) }, -1},
	} {
		t.Run(name, func(t *testing.T) {
			_, p := newCache(t)
			w := acquire(t, p, b)
			must(t, c.do(w))
			must(t, w.Close())
			must(t, w.Close()) // a second time does nothing
			kept := int64(-1)
			if fi, err := os.Stat(partialOf(p, b)); err == nil {
				kept = fi.Size()
			}
			if kept != c.kept {
				t.Errorf("%d bytes are kept, want %d", kept, c.kept)
			}
			if pooled(p, b) == nil {
				w := acquire(t, p, b)
				n, err := w.Resume(t.Context())
				if err != nil || n != max(0, c.kept) || n != w.Offset() {
					t.Errorf("resumed at %d (%v), want %d", n, err, c.kept)
				}
			}
		})
	}
}

func TestAnyPartialFileEndsRight(t *testing.T) {
	b := content(4, 50_000)
	for name, left := range map[string][]byte{
		"a part":          b[:20_000],
		"all":             b,
		"empty":           {},
		"damaged part":    content(5, 20_000),
		"damaged, full":   content(5, 50_000),
		"longer":          append(bytes.Clone(b), 1, 2, 3),
		"zeroes at end":   append(bytes.Clone(b[:20_000]), make([]byte, 10_000)...),
		"only zeroes":     make([]byte, 50_000),
		"far too much":    make([]byte, 500_000),
		"nothing special": b[:1],
	} {
		t.Run(name, func(t *testing.T) {
			c, p := newCache(t)
			writeTest(t, partialOf(p, b), left)
			must(t, put(p, b))
			if !bytes.Equal(pooled(p, b), b) {
				t.Error("the blob is wrong")
			}
			wantNothingLeft(t, c)
		})
	}
}

func TestPartialFileThatCannotBeReadIsNone(t *testing.T) {
	b := content(6, 1000)
	_, p := newCache(t)
	w := acquire(t, p, b)
	must(t, w.append(b[:500]))
	must(t, w.f.Close())
	var err error
	w.f, err = os.OpenFile(w.f.Name(), os.O_WRONLY, 0) // reading it fails
	must(t, err)
	n, err := w.Resume(t.Context())
	if n != 0 || err != nil || w.Offset() != 0 {
		t.Fatalf("resumed at %d: %v", n, err)
	}
	must(t, w.append(b))
	must(t, w.Commit())
}

func TestResumeEndsWithItsContext(t *testing.T) {
	b := content(7, 1000)
	_, p := newCache(t)
	writeTest(t, partialOf(p, b), b[:500])
	w := acquire(t, p, b)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := w.Resume(ctx); !errors.Is(err, why) {
		t.Errorf("error is %v", err)
	}
	must(t, w.Close())
	if fi, err := os.Stat(partialOf(p, b)); err != nil || fi.Size() != 500 {
		t.Errorf("what was there is not kept: %v", err)
	}
}

// The pool is cleaned by hand, and another process starts again, while a writer is open.
func TestCommitPublishesOnlyItsOwnFile(t *testing.T) {
	b := content(8, 1000)
	_, p := newCache(t)
	w := acquire(t, p, b)
	must(t, w.append(b))
	must(t, os.Remove(w.f.Name()))
	writeTest(t, w.f.Name(), content(9, 1000)) // by another process
	if err := w.Commit(); err == nil {
		t.Error("no error")
	}
	if pooled(p, b) != nil {
		t.Error("another file has got the blob's name")
	}
	must(t, w.Close())
	if _, err := os.Stat(partialOf(p, b)); err != nil {
		t.Errorf("the file of the other process is gone: %v", err)
	}
}
