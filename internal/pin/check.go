package pin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/manifest"
)

// State says whether a pin is still current.
type State string

// States, from bad to good.
const (
	Gone   State = "gone"   // the manifest or its list is no longer served
	Failed State = "failed" // unknown, because a request failed
	Moved  State = "moved"  // the tag points to something else, or no longer exists
	OK     State = "ok"
)

// A Status is the result of the check of one pin. It trusts the digests in the registries' headers: a check reads no
// content.
type Status struct {
	Reference string
	Transport string
	Platform  string
	State     State
	Pinned    digest.Digest // digest of the list, or of the manifest if there is no list
	Tag       digest.Digest // digest that the tag points to now
	From      string        // repository (a mirror's or the registry's) or store that has the manifest
	Missing   []string      // parts no longer served: list, manifest, tag
	Base      *BaseStatus   // if the image names its base
	Errors    []string      // why the state is unknown
	Hint      string        // hint for the errors
}

// BaseStatus says whether the base of an image is still current. It does not affect the State: the image itself is as
// pinned.
type BaseStatus struct {
	Base
	Now   digest.Digest // digest that the name points to now
	Moved bool
	Error string // why it is unknown
}

// Worst returns the worst state: Gone, Failed, Moved, OK.
func Worst(all []Status) State {
	worst := OK
	order := []State{Gone, Failed, Moved, OK}
	for _, s := range all {
		if slices.Index(order, s.State) < slices.Index(order, worst) {
			worst = s.State
		}
	}
	return worst
}

// Check checks for each image whether it is served and by which location, whether its tag still points to it, and whether
// its base has moved. Requests run in parallel, each only once.
func (r *Resolver) Check(ctx context.Context, images []Image) ([]Status, error) {
	image.RouteLogs(r.Note)
	c := &checker{Resolver: r, heads: map[string]*head{}, bases: map[Base]func() *BaseStatus{}}
	all := make([]Status, len(images))
	var asks []func()
	var mu sync.Mutex
	for n := range images {
		i, s := &images[n], &all[n]
		*s = Status{
			Reference: i.Reference, Transport: i.Transport, Platform: i.Platform, Pinned: i.Pinned(),
			State: OK, Missing: []string{}, Errors: []string{},
		}
		ref, err := i.ref()
		if err != nil {
			return nil, err
		}
		note := func(do func()) { mu.Lock(); defer mu.Unlock(); do() }
		asks = append(asks, func() { c.served(ctx, ref, i, s, note) })
		if ref.Tag != "" {
			asks = append(asks, func() { c.tag(ctx, ref, s, note) })
		}
		if i.Base != nil {
			asks = append(asks, func() { b := c.base(ctx, *i.Base); note(func() { s.Base = b }) })
		}
	}
	errs := r.each(len(asks), func(n int) error {
		asks[n]()
		return nil
	})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for n := range all {
		slices.Sort(all[n].Missing)
		slices.Sort(all[n].Errors)
		all[n].State = all[n].state()
	}
	return all, nil
}

// fail records that the request for what failed. Parts that failed with the same error share an entry.
func (s *Status) fail(what string, err error) {
	same := slices.IndexFunc(s.Errors, func(e string) bool { return strings.HasSuffix(e, ": "+err.Error()) })
	if same < 0 {
		s.Errors = append(s.Errors, fmt.Sprintf("%s: %v", what, err))
	} else {
		parts := append(strings.Split(strings.TrimSuffix(s.Errors[same], ": "+err.Error()), ", "), what)
		slices.Sort(parts)
		s.Errors[same] = strings.Join(parts, ", ") + ": " + err.Error()
	}
	s.Hint = hintOf(err).Spell(hint.Flags)
}

// state returns the state that follows from the responses.
func (s *Status) state() State {
	switch {
	case slices.ContainsFunc(s.Missing, func(what string) bool { return what != "tag" }):
		return Gone
	case len(s.Errors) > 0:
		return Failed
	case len(s.Missing) > 0, s.Tag != "" && s.Tag != s.Pinned:
		return Moved
	}
	return OK
}

// checker sends each request once, however many pins need it.
type checker struct {
	*Resolver
	mu    sync.Mutex
	heads map[string]*head
	bases map[Base]func() *BaseStatus
}

// head is the answer to one request.
type head struct {
	once   sync.Once
	digest digest.Digest
	from   string
	err    error
}

// head requests the digest that a target points to.
func (c *checker) head(ctx context.Context, ref Reference, t image.Target) *head {
	key := t.Transport + " " + t.StorageLocation + " " + t.String() + " " + t.ID.String()
	c.mu.Lock()
	h := c.heads[key]
	if h == nil {
		h = &head{}
		c.heads[key] = h
	}
	c.mu.Unlock()
	h.once.Do(func() {
		t.Mirrors = &registry.Mirrors{} // shared by all tries
		h.err = c.try(ctx, ref, func(ctx context.Context) (err error) {
			h.digest, h.from, err = image.Head(ctx, t)
			return err
		})
	})
	return h
}

// served checks that the pinned digests are served.
func (c *checker) served(ctx context.Context, ref Reference, i *Image, s *Status, note func(func())) {
	for _, what := range []struct {
		name   string
		digest digest.Digest
	}{{"list", i.List}, {"manifest", i.Manifest}} {
		if what.digest == "" {
			continue
		}
		ref.Digest = what.digest
		t := ref.Target(c.Access)
		if image.TransportOf(ref.Transport).Unpacked {
			t.ID = i.ID // a store looks images up by id
		}
		h := c.head(ctx, ref, t)
		note(func() {
			switch {
			case h.err == nil:
				s.From = h.from
			case image.IsNotFound(h.err):
				s.Missing = append(s.Missing, what.name)
			default:
				s.fail(what.name, h.err)
			}
		})
	}
}

// tag requests the digest of the tag.
func (c *checker) tag(ctx context.Context, ref Reference, s *Status, note func(func())) {
	ref.Digest = ""
	h := c.head(ctx, ref, ref.Target(c.Access))
	note(func() {
		switch {
		case h.err == nil:
			s.Tag = h.digest
		case image.IsNotFound(h.err):
			s.Missing = append(s.Missing, "tag")
		default:
			s.fail("tag", h.err)
		}
	})
}

// base checks whether the name of a base still points to it.
func (c *checker) base(ctx context.Context, b Base) *BaseStatus {
	c.mu.Lock()
	ask := c.bases[b]
	if ask == nil {
		ask = sync.OnceValue(func() *BaseStatus { return c.askBase(ctx, b) })
		c.bases[b] = ask
	}
	c.mu.Unlock()
	return ask()
}

// askBase sends the requests of base. Builders record the digest of either the image or its list: both count as current.
func (c *checker) askBase(ctx context.Context, b Base) *BaseStatus {
	s := &BaseStatus{Base: b}
	ref, err := ParseReference(c.Access, "docker://"+b.Name)
	if err != nil {
		s.Error = err.Error()
		return s
	}
	ref.Digest = ""
	if ref.Tag == "" { // named by digest only, which cannot move
		s.Now = b.Digest
		return s
	}
	h := c.head(ctx, ref, ref.Target(c.Access))
	if h.err != nil {
		s.Error = h.err.Error()
		return s
	}
	s.Now = h.digest
	if h.digest == b.Digest {
		return s
	}
	s.Moved = true
	l := &lookup{Resolver: c.Resolver, ref: ref}
	l.ref.Digest = h.digest
	if err := l.open(ctx); err != nil {
		s.Error, s.Moved = err.Error(), false
		return s
	}
	defer l.src.Close()
	if l.top.List && slices.ContainsFunc(l.top.Entries, func(e manifest.Entry) bool { return e.Digest == b.Digest }) {
		s.Moved = false
	}
	return s
}

// Lines describes what has changed, for people.
func (s *Status) Lines() []string {
	var lines []string
	for _, what := range s.Missing {
		if what == "tag" {
			lines = append(lines, "the tag is not there any more")
		} else {
			lines = append(lines, "its "+what+" is no longer served")
		}
	}
	if s.Tag != "" && s.Tag != s.Pinned {
		lines = append(lines, fmt.Sprintf("the tag moved: %s → %s", manifest.Short(s.Pinned), manifest.Short(s.Tag)))
	}
	if lines = append(lines, s.Errors...); s.Hint != "" {
		lines = append(lines, s.Hint)
	}
	if b := s.Base; b != nil && b.Moved {
		lines = append(lines, fmt.Sprintf("its base %s moved: %s → %s", b.Name, manifest.Short(b.Digest), manifest.Short(b.Now)))
	} else if b != nil && b.Error != "" {
		lines = append(lines, fmt.Sprintf("its base %s: %s", b.Name, b.Error))
	}
	return lines
}
