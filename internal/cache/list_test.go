package cache

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestCensus(t *testing.T) {
	c, p := newCache(t)
	one, two := draw(1, 0), draw(2, 0)
	for _, img := range []picture{one, two} {
		img.mustPublish(t, c, p)
	}
	loose, half := content(3, 100), content(4, 100)
	must(t, put(p, loose))
	writeTest(t, filepath.Join(p.partial.path, descriptor(half).Digest.Encoded()), half[:40])
	for _, junk := range []string{"x", "sha256:1", "SHA256:" + one.id.Encoded(), ".pool/blobs/sha256/x", ".pool/partial/x"} {
		writeTest(t, filepath.Join(c.containers, junk), []byte("x"))
	}
	must(t, os.MkdirAll(filepath.Dir(c.ImagePath(descriptor(half).Digest)), 0o755)) // without an image in it

	ids, err := c.Images()
	must(t, err)
	want := []digest.Digest{one.id, two.id}
	slices.Sort(want)
	if !slices.Equal(ids, want) {
		t.Errorf("images %s, want %s", ids, want)
	}
	pooled, err := c.Pooled()
	must(t, err)
	if len(pooled) != 7 || !slices.IsSortedFunc(pooled, func(a, b Stored) int { return strings.Compare(a.Digest.String(), b.Digest.String()) }) {
		t.Errorf("%d blobs in the pool, want 7: %v", len(pooled), pooled)
	}
	partial, err := c.Partial()
	must(t, err)
	if len(partial) != 1 || partial[0].Digest != descriptor(half).Digest || partial[0].Size != 40 {
		t.Errorf("partial: %v", partial)
	}
	pub, err := c.OpenImage(one.id)
	must(t, err)
	defer pub.Close()
	in, err := pub.Stored(one.Blobs[1].Digest)
	must(t, err)
	pool, err := c.PooledBlob(one.Blobs[1].Digest)
	must(t, err)
	if in != pool || in.Size != one.Blobs[1].Size {
		t.Errorf("in the image %v, in the pool %v", in, pool)
	}
	if _, err := pub.Stored(descriptor(loose).Digest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a blob the image does not have: %v", err)
	}
	if at, err := pub.Created(); err != nil || at.IsZero() {
		t.Errorf("published %s, %v", at, err)
	}
	if got, err := c.PartialBlob(descriptor(half).Digest); err != nil || got.Size != 40 {
		t.Errorf("partial blob %v, %v", got, err)
	}
}

// Reading what is not there makes nothing.
func TestCensusOfNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	c := Open(dir)
	ids, err := c.Images()
	must(t, err)
	pooled, err := c.Pooled()
	must(t, err)
	partial, err := c.Partial()
	must(t, err)
	if len(ids)+len(pooled)+len(partial) != 0 {
		t.Errorf("found %v, %v, %v", ids, pooled, partial)
	}
	if _, err := os.Lstat(dir); err == nil {
		t.Error("the cache was made")
	}
	writeTest(t, filepath.Join(dir, containersDir), nil)
	if _, err := c.Images(); err == nil {
		t.Error("a file was read as a cache")
	}
}
