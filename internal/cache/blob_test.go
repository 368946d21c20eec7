package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
)

// A blob is opened where the pool has it, or, without a pool, where the image does; one of another size is not
// it.
func TestBlobsAreOpened(t *testing.T) {
	c, p := newCache(t)
	pic := draw(1, 0)
	for _, b := range pic.content {
		if err := put(p, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Publish(context.Background(), p, pic.id, pic.Image); err != nil {
		t.Fatal(err)
	}
	layer := pic.Blobs[2]
	opens := func(id digest.Digest, size int64, want error) {
		t.Helper()
		f, err := c.OpenBlob(id, layer.Digest, size)
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
		if err != nil {
			return
		}
		defer f.Close()
		if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, pic.content[2]) {
			t.Errorf("it has %d bytes that are not the blob's, %v", len(got), err)
		}
	}
	opens("sha256:none", layer.Size, nil)
	opens(pic.id, layer.Size+1, fs.ErrNotExist)
	if err := os.RemoveAll(filepath.Join(c.containers, poolDir)); err != nil {
		t.Fatal(err)
	}
	opens(pic.id, layer.Size, nil)
	opens(pic.id, layer.Size+1, fs.ErrNotExist)
	opens("sha256:none", layer.Size, fs.ErrNotExist)
}
