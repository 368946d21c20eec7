package cache

import (
	"os"
	"path/filepath"
	"testing"
)

// A blob in the pool that somebody has made writable does not become an image's.
func TestPoolBlobOfAnotherModeIsCopied(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	must(t, put(p, img.content[1]))
	pooled := p.path(img.Blobs[1].Digest)
	must(t, os.Chmod(pooled, 0o666))
	img.mustPublish(t, c, p)
	published := filepath.Join(c.ImagePath(img.id), img.Blobs[1].Digest.Encoded())
	if same(t, published, pooled) || modeOf(t, published) != 0o644 {
		t.Errorf("published with the mode %o", modeOf(t, published))
	}
}
