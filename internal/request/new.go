package request

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"osbuild-containers/internal/hint"
)

// New returns a request to download items into the cache, validated like a request in JSON. An empty Transport means
// Docker. An item without a Digest is a manifest list whose key is its digest. Of items with the same key and digest
// only the first, by name, is kept. A refusal is an [*Error].
func New(cache string, items []Item, o Options) (*Request, error) {
	var found problems
	if text := parsePath(cache); text != "" {
		found.add("cache", "%s", text)
	}
	o.check(&found)
	r := &Request{Method: Download, Options: o, Cache: cache, Items: slices.Clone(items)}
	for i := range r.Items {
		r.Items[i].Image.Transport = cmp.Or(r.Items[i].Image.Transport, Docker)
		r.Items[i].check(&found)
	}
	slices.SortStableFunc(r.Items, func(a, b Item) int {
		return cmp.Or(strings.Compare(string(a.ID), string(b.ID)), strings.Compare(a.Image.Name, b.Image.Name))
	})
	for i := 1; i < len(r.Items); i++ {
		if a, b := r.Items[i-1], r.Items[i]; a.ID == b.ID && a.Image.Digest != b.Image.Digest {
			found.add(b.Image.Name, "%s and %s@%s are the same image, %s, in two forms, and a cache holds one: leave one out",
				b.Image.Digest, a.Image.Name, a.Image.Digest, a.ID)
		}
	}
	r.Items = slices.CompactFunc(r.Items, func(a, b Item) bool { return a.ID == b.ID })
	if err := found.err(); err != nil {
		return nil, err
	}
	return r, nil
}

// path returns the name of an option in a problem.
func (o *Options) path(name hint.Option) string { return name.Spell(o.Spelling) }

// Check returns an [*Error] that names the options out of bounds.
func (o Options) Check() error {
	var found problems
	o.check(&found)
	return found.err()
}

func (o Options) check(found *problems) {
	if o.Retries < 0 || o.Retries > maxRetries {
		found.add(o.path("retries"), "must be from 0 to %d, got %d", maxRetries, o.Retries)
	}
	for _, limit := range []struct {
		name hint.Option
		got  time.Duration
	}{{"timeout", o.Timeout}, {"stall-timeout", o.StallTimeout}, {"header-timeout", o.HeaderTimeout}} {
		if limit.got < time.Second || limit.got > maxTimeout {
			found.add(o.path(limit.name), "must be from %s to %s, got %s", time.Second, maxTimeout, limit.got)
		}
	}
	if o.MaxParallel < 1 || o.MaxParallel > maxParallel {
		found.add(o.path("max-parallel"), "must be from 1 to %d, got %d", maxParallel, o.MaxParallel)
	}
}

// Limits from the schemas; a test compares them.
const (
	maxRetries  = 100
	maxTimeout  = 365 * 24 * time.Hour
	maxParallel = 64
)

// check adds the item's problems to found.
func (it Item) check(found *problems) {
	img := it.Image
	if _, ok := parseDigest(string(it.ID)); !ok {
		found.add(img.Name, "its key %s", notDigest(string(it.ID)))
	}
	if _, ok := parseDigest(string(img.Digest)); !ok && img.Digest != "" {
		found.add(img.Name, "its digest %s", notDigest(string(img.Digest)))
	}
	if img.Name == "" {
		found.add("", "an image has no name: %s", it.ID)
	} else if text := parseName(img.Name, "beside it"); text != "" {
		found.add("name of an image", "%s", text)
	}
	if img.Transport != Docker && img.Transport != ContainersStorage {
		found.add(img.Name, "unknown transport %s: it is %s or %s", quote(img.Transport), Docker, ContainersStorage)
	}
	if img.StorageLocation != "" {
		if text := parsePath(img.StorageLocation); text != "" {
			found.add(img.Name, "its storage location %s", text)
		}
	}
}
