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

// RefetchImages is Images for a cache in which something was found damaged: what is published, and what the pool has,
// is used only where it still has its digest.
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

// hasImage reports whether what is published under the id is what the item pins, complete, and accepted
// by policy.json under the item's name.
func (j *job) hasImage(ctx context.Context, it request.Item) bool {
	pub := j.hit(ctx, it)
	if pub == nil {
		return false
	}
	pub.Close()
	return true
}

// hit is complete, but for an image that policy.json does not accept as it is stored: that is logged, and the
// registry may have the signatures that are missing.
func (j *job) hit(ctx context.Context, it request.Item) *cache.Published {
	pub, err := j.complete(ctx, it)
	j.noteRefused(it, err)
	if pub != nil && pub.IsYoung() {
		j.young.Store(it.ID, nil)
	}
	return pub
}

func (j *job) noteRefused(it request.Item, err error) {
	if err != nil {
		j.newItem(it).log.Note("in the cache, but %v", err)
	}
}

// complete opens the image, nil if it is not there as the item pins it. The error is that of policy.json,
// which is asked with what is stored: who fetched it, under which name and when does not count.
func (j *job) complete(ctx context.Context, it request.Item) (*cache.Published, error) {
	pub, err := j.cache.OpenImage(it.ID)
	if err != nil {
		return nil, nil //nolint:nilerr // it is not there, whatever the reason
	}
	found, pinned := isPinned(pub, it)
	if pinned {
		err = targetOf(it).Allowed(ctx, func() ([]byte, [][]byte, error) {
			if found.old != nil { // what was signed
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

// documents are what makes an image the pinned one: its manifest, and the one of schema 1 that this was converted from if
// that is pinned.
type documents struct {
	raw []byte
	old *cache.Schema1
}

// isPinned reports whether the image is the one that the item pins, complete, and returns what is pinned.
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

// viaSchema1 returns the manifest of schema 1 with the pinned digest if the image was converted from it, else nil.
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

// viaList reports whether the image was pinned by this list, which names the manifest that is served.
func viaList(pub *cache.Published, pinned, served digest.Digest) bool {
	raw, err := pub.List()
	if err != nil || raw == nil || digest.FromBytes(raw) != pinned {
		return false
	}
	list, err := manifest.Parse(raw)
	return err == nil && list.List && slices.ContainsFunc(list.Entries, func(e manifest.Entry) bool { return e.Digest == served })
}

// isUnpacked reports whether the layers are the uncompressed ones that the config names as diff
// ids: what containers storage gives. The image id then vouches for them, since no
// manifest with the pinned digest can.
func isUnpacked(pub *cache.Published, m *manifest.Manifest) bool {
	raw, err := pub.Config(m.Config)
	if err != nil {
		return false
	}
	ids, err := manifest.DiffIDs(raw)
	return err == nil && slices.EqualFunc(m.Layers, ids, func(l manifest.Descriptor, d digest.Digest) bool { return l.Digest == d })
}

// fetchImage fetches one image and publishes it.
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
	if img.Manifest, err = s.source().Publishable(ctx, c.raw); err != nil {
		return err
	}
	if bytes.Equal(img.Manifest, c.raw) { // else they sign what is not published
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

// publish publishes the image, with where it came from.
func (s *session) publish(ctx context.Context, pool *cache.Pool, img *cache.Image) error {
	img.Origins = []cache.Origin{s.origin()}
	return s.it.cache.Publish(ctx, pool, s.it.ID, img)
}

// chosen is the manifest of the image that an item means.
type chosen struct {
	raw  []byte
	list []byte         // the list it was chosen from, nil if it is pinned itself
	old  *schema1.Image // raw, if it is of schema 1; what id the image has is not known then

	signatures [][]byte // of raw, those that the policy has seen
}

// instance is the digest by which the list names the manifest, "" if there is no list.
func (c *chosen) instance() digest.Digest {
	if c.list == nil {
		return ""
	}
	return digest.FromBytes(c.raw)
}

// choose is find, but what it returns is allowed by policy, with the signatures that the policy has seen:
// read once, they are what is published, whatever the registry serves later.
func (s *session) choose(ctx context.Context) (*chosen, error) {
	c, err := s.find(ctx)
	if err != nil {
		return nil, err
	}
	// As skopeo does: the image must be allowed, not the list through which it was found.
	c.signatures, err = s.allowed(ctx, c.instance(), c.raw)
	return c, err
}

// find reads the pinned manifest and, if it is a list, the manifest that it names whose config is
// the item's id.
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
		if d == "" {
			raw, err = src.Manifest(ctx)
		} else {
			raw, err = src.Instance(ctx, d)
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	m, err = manifest.Parse(raw)
	return raw, m, err
}

// allowed reads the signatures of the instance, or of what is pinned if d is empty, whose manifest is raw,
// and checks policy.json.
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
	for src := s.source(); image.IsPolicy(err) && image.Elsewhere(src, registry.Signatures, d); { // the origin may have what the mirror has not
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

// shownOffers is how many entries of a manifest list an error names.
const shownOffers = 20

// isTrouble reports whether the server or the network failed, rather than the request.
func isTrouble(err error) bool {
	if err == nil {
		return false
	}
	class, _ := image.Classify(err)
	return class != retry.Final
}

// pick finds the manifest of a list whose config is the item's id, whatever its platform.
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
		case isTrouble(err): // the others would have it too
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
