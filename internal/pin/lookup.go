package pin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"osbuild-containers/internal/fetch"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/image/schema1"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/panics"
)

// lookup is the lookup of one reference.
type lookup struct {
	*Resolver
	ref    Reference
	src    image.Source
	digest digest.Digest // digest that the reference points to
	top    *manifest.Manifest
	old    *schema1.Image // set if the manifest is of schema 1: top then has no config
	raw    []byte
}

// found is one image with the platform in its config.
type found struct {
	*manifest.Manifest
	digest   digest.Digest
	platform *manifest.Platform // platform in the config
	base     *Base
}

// open reads the manifest or list that the reference points to.
func (l *lookup) open(ctx context.Context) error {
	target := l.ref.Target(l.Access)
	target.Mirrors = &registry.Mirrors{Note: func(format string, args ...any) {
		l.Note("%s", l.ref.String()+": "+fmt.Sprintf(format, args...))
	}}
	err := l.try(ctx, l.ref, func(ctx context.Context) (err error) {
		src, err := image.Open(ctx, target)
		if err != nil {
			return err
		}
		if l.raw, err = src.Manifest(ctx, ""); err != nil {
			return errors.Join(err, src.Close())
		}
		l.src = src
		return nil
	})
	if err != nil {
		return err
	}
	if err := l.parse(); err != nil {
		return errors.Join(err, l.src.Close())
	}
	return nil
}

// parse parses what open read.
func (l *lookup) parse() (err error) {
	l.digest = digest.FromBytes(l.raw)
	if l.top, err = manifest.Parse(l.raw); !errors.Is(err, manifest.ErrSchema1) {
		return err
	}
	if l.old, err = schema1.Parse(l.raw); err != nil {
		return err
	}
	l.digest, l.top = l.old.Digest, l.old.Manifest()
	return nil
}

// find returns one image for each platform.
func (l *lookup) find(ctx context.Context, platforms []Platform) ([]*found, error) {
	if !l.top.List {
		return l.single(ctx, platforms)
	}
	images, errs := make([]*found, len(platforms)), make([]error, len(platforms))
	var g errgroup.Group
	for n, p := range platforms {
		g.Go(func() error {
			errs[n] = panics.Catch(func() (err error) {
				images[n], err = l.listed(ctx, p)
				return err
			})
			return nil
		})
	}
	_ = g.Wait()
	return images, errors.Join(errs...)
}

// single returns the image of a reference without a list, once for each platform that its config matches.
func (l *lookup) single(ctx context.Context, platforms []Platform) ([]*found, error) {
	f, err := l.readSingle(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, p := range platforms {
		switch {
		case p.Any || p.fits(f.platform):
		case f.platform.Architecture == "":
			errs = append(errs, hint.Add(fmt.Errorf("is a single-platform image without a platform in its config, want %s", p),
				"use --arch any"))
		default:
			errs = append(errs, hint.Add(fmt.Errorf("is a single-platform image for %s, want %s", f.platform, p),
				"use --arch %s, or --arch any if it runs all the same", archOf(f.platform)))
		}
	}
	return slices.Repeat([]*found{f}, len(platforms)), errors.Join(errs...)
}

// readSingle reads the image of a reference without a list.
func (l *lookup) readSingle(ctx context.Context) (*found, error) {
	if l.old != nil {
		return l.convert(ctx)
	}
	return l.read(ctx, l.digest, l.raw)
}

// convert reads the layers of a schema 1 image, since only the conversion determines its image ID.
func (l *lookup) convert(ctx context.Context) (_ *found, err error) {
	l.Note("%s: is of Docker's schema 1, which has no image id: its layers are read to compute it", l.ref)
	streams := fetch.NewStreams(l.Options, nil)
	image.RouteLogs(l.Note)
	target := l.ref.Target(l.Access).Image
	target.Digest = l.digest
	s, err := streams.Open(ctx, target, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	layers, err := s.Schema1Layers(ctx, l.old)
	if err != nil {
		return nil, err
	}
	c, err := l.old.Convert(layers)
	if err != nil {
		return nil, err
	}
	f := &found{Manifest: c.Parsed, digest: l.digest}
	f.platform, err = configPlatform(c.ID, c.Config)
	return f, err
}

// archOf returns the value of --arch for a platform.
func archOf(p *manifest.Platform) string {
	return strings.TrimPrefix(p.String(), "linux/")
}

// maxUnspecified limits the images to read because the list does not name their platform.
const maxUnspecified = 32

// listed returns the list's image for the platform.
func (l *lookup) listed(ctx context.Context, p Platform) (*found, error) {
	fit, unspecified := l.choose(p)
	if len(fit) == 0 { // the configs may name platforms that the list does not
		if len(unspecified) > maxUnspecified {
			return nil, fmt.Errorf("has no image for %s; it has %s, and %d entries without a platform, too many to read", p, l.platforms(), len(unspecified))
		}
		for _, d := range unspecified {
			f, err := l.fetch(ctx, d)
			switch {
			case errors.Is(err, manifest.ErrArtifact):
			case err != nil:
				return nil, err
			case p.Any || p.fits(f.platform):
				fit = append(fit, d)
			}
		}
	}
	if len(fit) > 1 && len(fit) <= maxUnspecified {
		fit = l.images(ctx, fit)
	}
	switch {
	case len(fit) == 0:
		return nil, fmt.Errorf("has no image for %s; it has %s", p, l.platforms())
	case p.Any && len(fit) > 1:
		return nil, fmt.Errorf("has several images, so any is ambiguous; it has %s", l.platforms())
	case len(fit) > 1:
		l.Note("%s: the list has %d images for %s; the first is taken, as other tools do: %s", l.ref, len(fit), p, fit[0])
	}
	f, err := l.fetch(ctx, fit[0])
	if err != nil {
		return nil, err
	}
	if !p.Any && !p.fits(f.platform) {
		l.Note("%s: the list says that %s is for %s, its config says %s", l.ref, fit[0], p, f.platform)
	}
	return f, nil
}

// images returns the entries that are images: attestations and other artifacts may name a platform, too. An entry that
// cannot be read counts as an image.
func (l *lookup) images(ctx context.Context, entries []digest.Digest) []digest.Digest {
	return slices.DeleteFunc(slices.Clone(entries), func(d digest.Digest) bool {
		_, err := l.fetch(ctx, d)
		return errors.Is(err, manifest.ErrArtifact)
	})
}

// choose returns the distinct entries of the list for the platform, and those without a platform.
func (l *lookup) choose(p Platform) (fit, unspecified []digest.Digest) {
	add := func(to *[]digest.Digest, d digest.Digest) {
		if !slices.Contains(*to, d) {
			*to = append(*to, d)
		}
	}
	for _, e := range l.top.Entries {
		switch {
		case e.Platform == nil || e.Platform.OS == "" && e.Platform.Architecture == "":
			add(&unspecified, e.Digest)
		case e.Platform.OS == "linux" && p.Any, p.fits(e.Platform):
			add(&fit, e.Digest)
		}
	}
	return fit, unspecified
}

// platforms returns the platforms in the list, each once.
func (l *lookup) platforms() string {
	var names []string
	for _, e := range l.top.Entries {
		if name := e.Platform.String(); !strings.HasPrefix(name, "unknown") && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if names == nil {
		return "none with a platform"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// fetch reads a manifest of the list, and its config.
func (l *lookup) fetch(ctx context.Context, d digest.Digest) (*found, error) {
	var raw []byte
	err := l.try(ctx, l.ref, func(ctx context.Context) (err error) {
		raw, err = l.src.Manifest(ctx, d)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s, which the list names: %w", d, err)
	}
	return l.read(ctx, d, raw)
}

// Annotations of a manifest that name its base.
const (
	baseName   = "org.opencontainers.image.base.name"
	baseDigest = "org.opencontainers.image.base.digest"
)

// read parses the manifest of an image and reads its config.
func (l *lookup) read(ctx context.Context, d digest.Digest, raw []byte) (*found, error) {
	m, err := manifest.Parse(raw)
	if err != nil {
		return nil, err
	}
	if m.List {
		return nil, fmt.Errorf("%s is a list within a list", d)
	}
	f := &found{Manifest: m, digest: d}
	var notes struct {
		Annotations map[string]string `json:"annotations"`
	}
	if json.Unmarshal(raw, &notes) == nil {
		name, sum := notes.Annotations[baseName], digest.Digest(notes.Annotations[baseDigest])
		if name != "" && sum.Validate() == nil && sum.Algorithm() == digest.SHA256 {
			f.base = &Base{Name: name, Digest: sum}
		}
	}
	f.platform, err = l.config(ctx, m.Config)
	return f, err
}

// config reads, verifies and parses the config of an image.
func (l *lookup) config(ctx context.Context, d manifest.Descriptor) (*manifest.Platform, error) {
	if d.Size > manifest.MaxSize {
		return nil, fmt.Errorf("config %s is %d bytes long, the limit is %d", d.Digest, d.Size, manifest.MaxSize)
	}
	var raw []byte
	for {
		err := l.try(ctx, l.ref, func(ctx context.Context) error {
			r, _, err := l.src.Blob(ctx, d, 0)
			if err != nil {
				return err
			}
			raw, err = io.ReadAll(io.LimitReader(r, d.Size+1))
			return errors.Join(err, r.Close())
		})
		if err != nil {
			return nil, fmt.Errorf("config %s: %w", d.Digest, err)
		}
		got := digest.FromBytes(raw)
		if got == d.Digest {
			break
		}
		if !image.Elsewhere(l.src, registry.Blob, d.Digest) {
			return nil, manifest.Mismatch("config", got, d.Digest)
		}
	}
	return configPlatform(d.Digest, raw)
}

// configPlatform returns the platform in a config.
func configPlatform(d digest.Digest, raw []byte) (*manifest.Platform, error) {
	p, err := manifest.PlatformOf(raw)
	if err != nil {
		return nil, fmt.Errorf("config %s cannot be read: %w", d, err)
	}
	if p.OS == "" && p.Architecture != "" {
		p.OS = "linux"
	}
	return &p, nil
}
