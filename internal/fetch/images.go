package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/image/policy"
	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/image/schema1"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
	"osbuild-containers/internal/retry"
)

// Images fetches images by pinned digest, each published under its image id.
func Images(ctx context.Context, r *request.Request, log *progress.Reporter) []request.Result {
	j := newJob(r, log)
	defer j.close()
	return j.run(ctx, j.usesImage, fetchImage)
}

// RefetchImages is Images for a damaged cache: it verifies published images and pooled blobs before it uses them.
func RefetchImages(ctx context.Context, r *request.Request, log *progress.Reporter) []request.Result {
	j := newJob(r, log)
	j.rehash = true
	defer j.close()
	return j.run(ctx, func(context.Context, request.Item) bool { return false }, fetchImage)
}

// usesImage is hasImage, and records that the image was used.
func (j *job) usesImage(ctx context.Context, it request.Item) bool {
	pub := j.hit(ctx, it)
	if pub == nil {
		return false
	}
	pub.Use()
	pub.Close()
	return true
}

// hasImage reports whether the cache has the image that the item pins, complete, and policy.json accepts it under the
// item's name.
func (j *job) hasImage(ctx context.Context, it request.Item) bool {
	pub := j.hit(ctx, it)
	if pub == nil {
		return false
	}
	pub.Close()
	return true
}

// hit is complete, but logs an image that policy.json refuses with its stored signatures. It is then fetched, since
// the registry may have more signatures.
func (j *job) hit(ctx context.Context, it request.Item) *cache.Published {
	pub, err := j.complete(ctx, it)
	j.noteRefused(it, err)
	if pub != nil && pub.IsRecent() {
		j.mu.Lock()
		j.recent = append(j.recent, it.ID)
		j.mu.Unlock()
	}
	return pub
}

func (j *job) noteRefused(it request.Item, err error) {
	if err != nil {
		j.newItem(it).log.Note("in the cache, but %v", err)
	}
}

// complete opens the image if the cache has it complete and as pinned; otherwise it returns nil. The error is
// that of policy.json, which is evaluated on the stored manifest and signatures, no matter which process fetched them.
func (j *job) complete(ctx context.Context, it request.Item) (*cache.Published, error) {
	pub, err := j.cache.OpenImage(it.ID)
	if err != nil {
		return nil, nil //nolint:nilerr // missing or damaged: fetch it
	}
	found, pinned := isPinned(pub, it)
	if pinned {
		err = targetOf(it).Allowed(ctx, func() ([]byte, [][]byte, error) {
			if found.old != nil { // the signatures are of the original manifest
				return found.old.Manifest, found.old.Signatures, nil
			}
			signatures, err := pub.Signatures()
			return found.raw, signatures, err
		})
	}
	if !pinned || err != nil {
		pub.Close()
		return nil, err
	}
	return pub, nil
}

// documents prove that an image is the pinned one: its manifest and, if the pinned manifest is of schema 1, that one.
type documents struct {
	raw []byte
	old *cache.Schema1
}

// isPinned reports whether the image is complete and the one that the item pins.
func isPinned(pub *cache.Published, it request.Item) (found documents, pinned bool) {
	raw, err := pub.Manifest()
	if err != nil {
		return documents{}, false
	}
	m, err := manifest.Parse(raw)
	if err != nil || m.List || m.Config.Digest != it.ID || !pub.Has(m.Blobs()) {
		return documents{}, false
	}
	served := digest.FromBytes(raw)
	if served == it.Image.Digest || viaList(pub, it.Image.Digest, served) ||
		image.TransportOf(it.Image.Transport).Unpacked && isUnpacked(pub, m) {
		return documents{raw: raw}, true
	}
	old := viaSchema1(pub, it.Image.Digest, raw, m)
	return documents{raw, old}, old != nil
}

// viaSchema1 returns the manifest of schema 1 that has the pinned digest and the image was converted from, or nil.
func viaSchema1(pub *cache.Published, pinned digest.Digest, raw []byte, m *manifest.Manifest) *cache.Schema1 {
	old, err := pub.Schema1()
	if err != nil || old == nil {
		return nil
	}
	config, err := pub.Config(m.Config)
	if err != nil {
		return nil
	}
	if got, err := schema1.Digest(old.Manifest); err != nil || got != pinned || schema1.Gives(old.Manifest, raw, config) != nil {
		return nil
	}
	return old
}

// viaList reports whether the image was fetched by the pinned digest of a list that names the served manifest.
func viaList(pub *cache.Published, pinned, served digest.Digest) bool {
	raw, err := pub.List()
	if err != nil || raw == nil || digest.FromBytes(raw) != pinned {
		return false
	}
	list, err := manifest.Parse(raw)
	return err == nil && list.List && slices.ContainsFunc(list.Entries, func(e manifest.Entry) bool { return e.Digest == served })
}

// isUnpacked reports whether the layers are the uncompressed ones that the config names as diff IDs, as read from a
// containers storage. No manifest can then have the pinned digest, but the image id covers the layers.
func isUnpacked(pub *cache.Published, m *manifest.Manifest) bool {
	raw, err := pub.Config(m.Config)
	if err != nil {
		return false
	}
	ids, err := manifest.DiffIDs(raw)
	return err == nil && slices.EqualFunc(m.Layers, ids, func(l manifest.Descriptor, d digest.Digest) bool { return l.Digest == d })
}

// fetchImage fetches and publishes one image.
func fetchImage(ctx context.Context, it *item) (err error) {
	if err := it.target.Refused(ctx); err != nil {
		return err
	}
	if err := it.cache.Check(it.ID); err != nil {
		return err
	}
	pool, err := it.openPool(ctx)
	if err != nil {
		return err
	}
	s, err := it.newSession(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	c, err := s.choose(ctx)
	if err != nil {
		return err
	}
	if c.old != nil {
		img, err := s.convert(ctx, pool, c)
		if err != nil {
			return err
		}
		return s.publish(ctx, pool, img)
	}
	img := &cache.Image{List: c.list}
	if img.Manifest, err = image.Publishable(ctx, s.source(), c.raw); err != nil {
		return err
	}
	if bytes.Equal(img.Manifest, c.raw) { // otherwise they sign another manifest
		img.Signatures = c.signatures
	}
	m, err := manifest.Parse(img.Manifest)
	if err != nil {
		return err
	}
	if m.Mixed {
		it.log.Note(manifest.MixedNote)
	}
	img.Blobs = m.Blobs()
	if err := it.eachBlob(ctx, "image", m, func(ctx context.Context, d manifest.Descriptor, bar *progress.Blob) error {
		return s.blob(ctx, pool, d, bar)
	}); err != nil {
		return err
	}
	return s.publish(ctx, pool, img)
}

// publish publishes the image and records its origin.
func (s *session) publish(ctx context.Context, pool *cache.Pool, img *cache.Image) error {
	img.Origins = []cache.Origin{s.origin()}
	return s.it.cache.Publish(ctx, pool, s.it.ID, img)
}

// chosen is the manifest selected for an item.
type chosen struct {
	raw  []byte
	list []byte         // list that names it; nil if the manifest itself is pinned
	old  *schema1.Image // parsed raw if of schema 1; the image id is then not known yet

	signatures [][]byte // of raw, as checked by the policy
}

// instance returns the digest by which the list names the manifest, or "" if there is no list.
func (c *chosen) instance() digest.Digest {
	if c.list == nil {
		return ""
	}
	return digest.FromBytes(c.raw)
}

// choose is find followed by the policy check. The signatures are read once, so the published ones are those that the
// policy has accepted, whatever the registry serves later.
func (s *session) choose(ctx context.Context) (*chosen, error) {
	c, err := s.find(ctx)
	if err != nil {
		return nil, err
	}
	// Like skopeo: the policy must allow the image, not the list.
	c.signatures, err = s.allowed(ctx, c.instance(), c.raw)
	return c, err
}

// find reads the pinned manifest. If it is a list, find returns the manifest named by it whose config digest is the
// item's id.
func (s *session) find(ctx context.Context) (*chosen, error) {
	raw, m, err := s.manifest(ctx, "")
	if old, e := parseSchema1(raw, err); e != nil {
		return nil, e
	} else if old != nil {
		return &chosen{raw: raw, old: old}, nil
	}
	c := &chosen{raw: raw}
	if m.List {
		c.list = raw
		if c.raw, m, err = s.pick(ctx, m); err != nil {
			return nil, err
		}
	}
	if m.Config.Digest != s.it.ID {
		return nil, wrongID(m.Config.Digest, s.it.ID)
	}
	return c, nil
}

// manifest reads and parses the manifest with digest d, or the pinned one if d is empty.
func (s *session) manifest(ctx context.Context, d digest.Digest) (raw []byte, m *manifest.Manifest, err error) {
	err = s.call(ctx, "manifest", func(ctx context.Context, src image.Source) (err error) {
		raw, err = src.Manifest(ctx, d)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	m, err = manifest.Parse(raw)
	return raw, m, err
}

// allowed reads the signatures of manifest raw, which has digest d or is the pinned one if d is empty, and checks
// policy.json.
func (s *session) allowed(ctx context.Context, d digest.Digest, raw []byte) (signatures [][]byte, err error) {
	if !policy.Exists() {
		s.it.noPolicy.Do(func() {
			s.it.job.log.Note("no policy.json: the pinned digests alone decide what is accepted")
		})
	}
	if err := s.call(ctx, "signatures", func(ctx context.Context, src image.Source) (err error) {
		signatures, err = src.Signatures(ctx, d)
		return err
	}); err != nil {
		return nil, err
	}
	allowed := func() error {
		return s.it.target.Allowed(ctx, func() ([]byte, [][]byte, error) { return raw, signatures, nil })
	}
	err = allowed()
	for src := s.source(); image.IsPolicy(err) && image.Elsewhere(src, registry.Signatures, d); { // the origin may have signatures that the mirror lacks
		if s.it.tries.New(nil).Once(ctx, func(ctx context.Context) error {
			others, e := src.Signatures(ctx, d)
			if e == nil {
				signatures = others
			}
			return e
		}) != nil {
			break
		}
		err = allowed()
	}
	return signatures, err
}

// shownOffers is the maximum number of manifest list entries in an error.
const shownOffers = 20

// isServerFailure reports whether the server or network failed, as opposed to the request being wrong.
func isServerFailure(err error) bool {
	if err == nil {
		return false
	}
	class, _ := image.Classify(err)
	return class != retry.Final
}

// pick finds the manifest in a list whose config digest is the item's id, on any platform.
func (s *session) pick(ctx context.Context, list *manifest.Manifest) ([]byte, *manifest.Manifest, error) {
	offers := make([]string, 0, len(list.Entries))
	seen := make(map[digest.Digest]bool, len(list.Entries))
	for _, e := range list.Entries {
		if seen[e.Digest] {
			continue
		}
		seen[e.Digest] = true
		raw, m, err := s.manifest(ctx, e.Digest)
		offer := e.Platform.String() + " "
		switch {
		case ctx.Err() != nil:
			return nil, nil, context.Cause(ctx)
		case isServerFailure(err): // the other entries would fail too
			return nil, nil, err
		case err != nil:
			offer += e.Digest.String() + ": " + err.Error()
		case m.List:
			offer += e.Digest.String() + ": a list within a list"
		case m.Config.Digest == s.it.ID:
			return raw, m, nil
		default:
			offer += m.Config.Digest.String()
		}
		offers = append(offers, offer)
	}
	switch {
	case len(offers) == 0:
		offers = []string{"nothing"}
	case len(offers) > shownOffers:
		offers = append(offers[:shownOffers], fmt.Sprintf("and %d more", len(offers)-shownOffers))
	}
	return nil, nil, fmt.Errorf("the manifest list has no image with the id %s; it offers %s", s.it.ID, strings.Join(offers, ", "))
}
