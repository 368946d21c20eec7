package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"osbuild-containers/internal/manifest"
)

// inside is a file that has the content somewhere in it.
func inside(t *testing.T, dir string, b []byte, at int) *os.File {
	t.Helper()
	path := filepath.Join(dir, "archive")
	writeTest(t, path, append(append(make([]byte, at), b...), make([]byte, 1000)...))
	f, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func TestReadFileTakesABlobOutOfAnArchive(t *testing.T) {
	for _, dir := range map[string]string{"the same file system": t.TempDir(), "another": memoryDir(t)} {
		for _, size := range []int{0, 1, pieceSize - 1, pieceSize, 3*pieceSize + 17} {
			c, p := openCache(t, filepath.Join(t.TempDir(), "cache"))
			b := content(uint64(size), size)
			f := inside(t, dir, b, 512)
			d := descriptor(b)
			w, err := p.Acquire(t.Context(), d.Digest, d.Size, nil)
			must(t, err)
			must(t, w.ReadFile(t.Context(), f, 512))
			must(t, w.Commit())
			must(t, w.Close())
			if _, err := c.PooledBlob(d.Digest); err != nil {
				t.Error(err)
			}
			if got, err := os.ReadFile(p.path(d.Digest)); err != nil || !bytes.Equal(got, b) {
				t.Errorf("%d bytes in the pool are not the blob, %v", len(got), err)
			}
		}
	}
}

func TestReadFileGoesOnWhereAnotherStopped(t *testing.T) {
	_, p := newCache(t)
	b := content(1, 3*pieceSize)
	f := inside(t, t.TempDir(), b, 512)
	d := descriptor(b)
	w, err := p.Acquire(t.Context(), d.Digest, d.Size, nil)
	must(t, err)
	must(t, w.append(b[:pieceSize+5]))
	must(t, w.Close())

	clear(b[:pieceSize]) // what is there is not read from the archive again
	must(t, os.WriteFile(f.Name(), append(make([]byte, 512), b...), 0o600))
	w, err = p.Acquire(t.Context(), d.Digest, d.Size, nil)
	must(t, err)
	defer w.Close()
	if n, err := w.Resume(t.Context()); n != pieceSize+5 || err != nil {
		t.Fatalf("%d bytes are there, %v", n, err)
	}
	must(t, w.ReadFile(t.Context(), f, 512))
	must(t, w.Commit())
}

func TestReadFileSaysWhatIsWrong(t *testing.T) {
	_, p := newCache(t)
	b := content(1, 2*pieceSize)
	d := descriptor(b)
	acquire := func() *Writer {
		w, err := p.Acquire(t.Context(), d.Digest, d.Size, nil)
		must(t, err)
		t.Cleanup(func() { w.Close() })
		return w
	}
	f := inside(t, t.TempDir(), b, 512)

	w := acquire()
	if err := w.ReadFile(t.Context(), f, 513); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); !manifest.IsMismatch(err) {
		t.Errorf("other bytes: got %v", err)
	}
	must(t, w.Close())

	w = acquire()
	if err := w.ReadFile(t.Context(), f, 5000); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file that is too short: got %v", err)
	}
	if w.Offset() > d.Size || w.Commit() == nil {
		t.Error("it is committed")
	}
	must(t, w.Reset())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.ReadFile(ctx, f, 512); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: got %v", err)
	}
}
