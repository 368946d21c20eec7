package mirror

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/fetch"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/process"
	"osbuild-containers/internal/progress"
)

// unit is what one tag points to: an image, or a manifest list with some or all of its images.
type unit struct {
	Image
	run    *run
	name   string // full name of the repository
	tag    string // "" for none
	pins   []pin.Image
	to     *repository
	item   *progress.Item
	began  time.Time
	stream *fetch.Stream
	docs   []document // referenced documents first, the top one last
	blobs  []manifest.Descriptor
	layers int
	named  int // images named by the list
	sparse int // images of the list that are not sent
	others int // manifests sent without being pinned, named by the list directly or not
	signed int // signatures sent

	parts sync.WaitGroup // blobs not done yet
	mu    sync.Mutex     // guards Err and Sum
}

// document is a manifest to send.
type document struct {
	raw    []byte
	digest digest.Digest
	list   bool
	tag    string // "" for none
}

// group makes the units of the pins, one for each reference and digest.
func (r *run) group(pins []pin.Image) error {
	type key struct {
		reference string
		top       digest.Digest
	}
	byKey, repos := map[key]*unit{}, map[string]*repository{}
	for _, p := range pins {
		if p.Transport != "" {
			r.log.Note("%s is in the containers storage of this machine: it is not mirrored", p.Reference)
			continue
		}
		k := key{p.Reference, p.Pinned()}
		u := byKey[k]
		if u == nil {
			var err error
			if u, err = r.newUnit(p, repos); err != nil {
				return err
			}
			byKey[k] = u
			r.units = append(r.units, u)
		}
		u.pins = append(u.pins, p)
		u.Platforms = append(u.Platforms, p.Platform)
	}
	if r.units == nil {
		return errNothing
	}
	return r.tags()
}

func (r *run) newUnit(p pin.Image, repos map[string]*repository) (*unit, error) {
	named, err := reference.ParseNormalizedNamed(p.Reference)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Reference, err)
	}
	at, err := r.Place.repository(named.Name())
	if err != nil {
		return nil, err
	}
	u := &unit{Image: Image{Reference: p.Reference, To: at, Digest: p.Pinned()}, run: r, name: named.Name(), began: time.Now()}
	if tagged, ok := named.(reference.Tagged); ok {
		u.tag = tagged.Tag()
	}
	if repos[at] == nil {
		repos[at] = &repository{run: r, name: at}
		r.repos = append(r.repos, repos[at])
	}
	u.to = repos[at]
	u.item = r.log.Pinned(p.Reference, u.Digest.String(), "")
	return u, nil
}

// tags ensures that no two units have the same tag of a repository. If a tag was pinned several times, the latest pin gets
// it.
func (r *run) tags() error {
	latest := func(u *unit) time.Time {
		return slices.MaxFunc(u.pins, func(a, b pin.Image) int { return a.Resolved.Compare(b.Resolved) }).Resolved
	}
	taken := map[string]*unit{}
	for _, u := range r.units {
		if u.tag == "" {
			continue
		}
		at := u.To + ":" + u.tag
		other := taken[at]
		switch {
		case other == nil:
			taken[at] = u
		case other.name != u.name:
			return hint.Add(fmt.Errorf("%s and %s would both be %s", other.Reference, u.Reference, at),
				"keep them apart with --scoped, which has the registries in the paths, or mirror them to different prefixes")
		default:
			old := u
			if latest(other).Before(latest(u)) {
				old, taken[at] = other, u
			}
			old.tag = ""
			r.log.Note("%s is pinned to several digests: %s gets no tag, since it is not the latest", old.Reference, old.Digest)
		}
	}
	for _, u := range r.units {
		if u.tag != "" {
			u.To += ":" + u.tag
		}
	}
	return nil
}

// start reports what the unit needs.
func (u *unit) start() {
	if u.Err != nil {
		return
	}
	var size int64
	for _, b := range u.blobs {
		size = manifest.AddSizes(size, b.Size)
	}
	u.item.Start(strings.Join(u.Platforms, ", "), u.layers, size)
}

// fail records an error, unless there is one already.
func (u *unit) fail(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.Err == nil {
		u.Err = err
	}
}

// finish logs the outcome.
func (u *unit) finish() {
	if u.Err != nil {
		end := u.item.Fail
		if errors.Is(u.Err, process.ErrInterrupted) {
			end = u.item.Interrupt
		}
		end(hint.Line(withHint(u.Err), hint.Flags))
		return
	}
	u.item.Done(progress.Summary{Sent: true, Bytes: u.Sent, Reused: u.Mounted + u.There, Elapsed: time.Since(u.began)})
}
