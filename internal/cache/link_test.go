package cache

import (
	"os"
	"path/filepath"
	"testing"
)

// A blob in the pool that others can write is brought again, and one that is private is copied.
func TestPoolBlobOfAnotherMode(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	must(t, put(p, img.content[1]))
	pooled := p.path(img.Blobs[1].Digest)
	must(t, os.Chmod(pooled, 0o666))
	must(t, put(p, img.content[2]))
	private := p.path(img.Blobs[2].Digest)
	must(t, os.Chmod(private, 0o600))
	img.mustPublish(t, c, p)
	for n, path := range map[int]string{1: pooled, 2: private} {
		as := filepath.Join(c.ImagePath(img.id), img.Blobs[n].Digest.Encoded())
		if same(t, as, path) != (n == 1) || modeOf(t, as) != 0o644 {
			t.Errorf("%d is published with the mode %o, or linked where it was not to be", n, modeOf(t, as))
		}
	}
}
