package bundle

import (
	"fmt"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
)

// missing returns an error that names the blobs found nowhere, before any blob is copied.
func (in *importer) missing(img *foundImage) error {
	var none []manifest.Descriptor
	for _, d := range img.m.Blobs() {
		c, err := img.open(d.Digest)
		if err == nil {
			c.close()
			continue
		}
		if s, err := in.cache.PooledBlob(d.Digest); err == nil && s.Size == d.Size {
			continue
		}
		if in.published()[d.Digest] == "" {
			none = append(none, d)
		}
	}
	if len(none) == 0 {
		return nil
	}
	return in.notFound(none[0], len(none)-1)
}

// notFound returns an error for a blob, and more others, found nowhere.
func (in *importer) notFound(d manifest.Descriptor, more int) error {
	return &missingError{d, more, in.from.path, !in.from.tree.Ended()}
}

// missingError reports a missing blob.
type missingError struct {
	blob manifest.Descriptor
	more int
	path string
	cut  bool // path is a truncated archive
}

func (e *missingError) Error() string {
	more := ""
	if e.more > 0 {
		more = fmt.Sprintf(" (and %d more)", e.more)
	}
	text := fmt.Sprintf("blob %s is neither in %s nor in the cache%s", e.blob.Digest, e.path, more)
	if e.cut {
		text += ": the archive is cut off"
	}
	return text
}

// Hint implements the interface of package hint.
func (e *missingError) Hint() hint.Hint {
	if e.cut {
		return hint.New("copy or export it again")
	}
	return hint.New("if it was exported with --have, import what it continues first; or export again without --have")
}

// publishedBlobs maps blobs to an image of the cache that has them, for blobs not in the pool.
func publishedBlobs(c *cache.Cache) map[digest.Digest]digest.Digest {
	at := map[digest.Digest]digest.Digest{}
	ids, err := c.Images()
	if err != nil {
		return at
	}
	for _, id := range ids {
		if pub, err := c.OpenImage(id); err == nil {
			addBlobs(at, pub, id)
			pub.Close()
		}
	}
	return at
}

func addBlobs(at map[digest.Digest]digest.Digest, pub *cache.Published, id digest.Digest) {
	raw, err := pub.Manifest()
	if err != nil {
		return
	}
	m, err := parseImage(raw, id)
	if err != nil || !pub.Has(m.Blobs()) {
		return
	}
	for _, d := range m.Blobs() {
		at[d.Digest] = id
	}
}
