package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/request"
)

// read reads all manifests of the unit, and checks the pins and policy.json.
func (u *unit) read(ctx context.Context) error {
	img := request.Image{Name: u.name, Digest: u.Digest, Access: u.run.From, Transport: request.Docker}
	var err error
	if u.stream, err = u.run.streams.Open(ctx, img, u.item); err != nil {
		return err
	}
	raw, top, err := u.stream.Manifest(ctx, "")
	if errors.Is(err, manifest.ErrSchema1) {
		return hint.Add(errors.New("an image of Docker's schema 1 cannot be mirrored: the registries of today refuse its manifest"),
			"export it and import it where it is needed, or push it again in another format and pin that")
	}
	if err != nil {
		return err
	}
	if !top.List {
		if err := u.check(ctx, u.pins, raw, top, ""); err != nil {
			return err
		}
		return u.addTop(ctx, raw, top)
	}
	seen := map[digest.Digest]bool{}
	for _, e := range top.Entries {
		pins := slices.Clone(u.pins)
		pins = slices.DeleteFunc(pins, func(p pin.Image) bool { return p.Manifest != e.Digest })
		switch {
		case seen[e.Digest]:
		case len(pins) > 0:
			raw, m, err := u.stream.Manifest(ctx, e.Digest)
			if err == nil {
				err = u.check(ctx, pins, raw, m, e.Digest)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", e.Digest, err)
			}
			u.add(raw, m, "")
			if err := u.addSignatures(ctx, e.Digest); err != nil {
				return err
			}
		case u.run.All:
			if err := u.addTree(ctx, e.Digest, 0); err != nil {
				return err
			}
		default:
			u.sparse++
		}
		seen[e.Digest] = true
		u.named = len(seen)
	}
	for _, p := range u.pins {
		if !seen[p.Manifest] {
			return fmt.Errorf("the manifest list does not name %s, which is pinned for %s: pin it again", p.Manifest, p.Platform)
		}
	}
	return u.addTop(ctx, raw, top)
}

// addTop adds the manifest that the tag points to.
func (u *unit) addTop(ctx context.Context, raw []byte, top *manifest.Manifest) error {
	if err := u.addSignatures(ctx, u.Digest); err != nil {
		return err
	}
	u.add(raw, top, u.tag)
	u.logUnchecked()
	return nil
}

// logUnchecked logs what is copied without a check of policy.json.
func (u *unit) logUnchecked() {
	var what []string
	if u.others > 0 {
		what = append(what, fmt.Sprintf("manifests that are not pinned: %d", u.others))
	}
	if u.signed > 0 {
		what = append(what, fmt.Sprintf("signatures: %d", u.signed))
	}
	if len(what) > 0 {
		u.item.Note("not checked by policy.json: %s", strings.Join(what, ", "))
	}
}

// addSignatures adds the sigstore signatures of a manifest, if its repository has any in cosign's form: without them, a
// policy.json that requires signatures refuses the mirrored image. Their tag is not pinned, so their current state is
// copied, within the limits for signatures of a fetched image.
func (u *unit) addSignatures(ctx context.Context, d digest.Digest) (err error) {
	tag := strings.Replace(d.String(), ":", "-", 1) + ".sig"
	s, err := u.run.streams.Open(ctx, request.Image{Name: u.name + ":" + tag, Access: u.run.From, Transport: request.Docker}, u.item)
	if image.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for signatures: %w", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	raw, _, err := s.Manifest(ctx, "")
	if raw == nil {
		return fmt.Errorf("read signatures: %w", err)
	}
	m, err := manifest.ParseAny(raw)
	if err == nil && m.List {
		err = fmt.Errorf("%s is a manifest list", tag)
	}
	if err == nil {
		err = manifest.CheckSignatures(len(m.Layers), m.Size())
	}
	if err != nil {
		return fmt.Errorf("read signatures: %w", err)
	}
	u.signed += len(m.Layers)
	u.add(raw, m, tag)
	return nil
}

// check returns an error unless the image is pinned and allowed. instance is its digest, or "" if there is no list.
func (u *unit) check(ctx context.Context, pins []pin.Image, raw []byte, m *manifest.Manifest, instance digest.Digest) error {
	for _, p := range pins {
		switch {
		case m.List:
			return errors.New("this is a manifest list, but it is pinned as an image: pin it again")
		case instance == "" && p.Manifest != u.Digest:
			return errors.New("this is an image, but it is pinned as a manifest list: pin it again")
		case m.Config.Digest != p.ID:
			return fmt.Errorf("image id is %s, want %s: pin it again", m.Config.Digest, p.ID)
		}
	}
	return u.stream.Allowed(ctx, instance, raw)
}

// maxNested limits the nesting of lists.
const maxNested = 4

// addTree adds the manifests named by a list that are not pinned themselves.
func (u *unit) addTree(ctx context.Context, d digest.Digest, depth int) error {
	if slices.ContainsFunc(u.docs, func(doc document) bool { return doc.digest == d }) {
		return nil
	}
	raw, _, err := u.stream.Manifest(ctx, d)
	if raw == nil {
		return fmt.Errorf("%s: %w", d, err)
	}
	m, err := manifest.ParseAny(raw)
	if err == nil && m.List && depth == maxNested {
		err = errors.New("too many lists within lists")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", d, err)
	}
	for _, e := range m.Entries {
		if err := u.addTree(ctx, e.Digest, depth+1); err != nil {
			return err
		}
	}
	u.others++
	u.add(raw, m, "")
	return nil
}

// add adds a manifest and its blobs.
func (u *unit) add(raw []byte, m *manifest.Manifest, tag string) {
	u.docs = append(u.docs, document{raw, digest.FromBytes(raw), m.List, tag})
	if m.List {
		return
	}
	u.layers += len(m.Layers)
	for _, d := range m.Blobs() {
		if !slices.ContainsFunc(u.blobs, func(b manifest.Descriptor) bool { return b.Digest == d.Digest }) {
			u.blobs = append(u.blobs, d)
		}
	}
}
