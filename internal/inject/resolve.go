package inject

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/request"
)

// resolve finds the pin for each reference.
func (m *model) resolve(o *Options, result *Result) error {
	match := matcher{parse: o.Parse, same: map[string][]*imageRef{}}
	for n := range o.Pins {
		match.pins = append(match.pins, newCandidate(&o.Pins[n]))
	}
	all := m.references()
	for _, r := range all {
		match.same[r.key] = append(match.same[r.key], r)
	}
	for _, r := range all {
		if err := match.resolve(r); err != nil {
			return fmt.Errorf("%s: %w", r.at, err)
		}
		result.note(r)
	}
	return nil
}

func (result *Result) note(r *imageRef) {
	if r.pin == nil {
		result.Left = append(result.Left, Left{At: r.at, ID: r.key, Name: cmp.Or(r.name, r.item.name)})
		return
	}
	result.Pinned = append(result.Pinned, Pinned{
		At: r.at, Reference: r.pin.Reference, Platform: r.pin.Platform, Old: r.key, New: r.pin.ID.String(),
	})
}

// candidate is a pin that may match a reference.
type candidate struct {
	*pin.Image
	transport  string
	repository string // the reference without tag and digest
}

func newCandidate(i *pin.Image) candidate {
	return candidate{Image: i, transport: cmp.Or(i.Transport, request.Docker), repository: repository(i.Reference)}
}

// repository returns the full name without tag and digest.
func repository(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return named.Name()
}

func (c candidate) String() string { return c.Reference + " for " + c.Platform }

// same reports whether two candidates differ in their tag at most.
func (c candidate) same(o candidate) bool {
	return c.ID == o.ID && c.Manifest == o.Manifest && c.List == o.List && c.repository == o.repository
}

// matcher selects pins for references.
type matcher struct {
	pins  []candidate
	parse func(string) (pin.Reference, error)
	same  map[string][]*imageRef // by key
}

// resolve finds the pin for one reference. A reference with an id may have none.
func (m *matcher) resolve(r *imageRef) error {
	if r.pin != nil {
		return nil
	}
	find := m.known
	if r.fresh {
		find = m.named
	}
	found, err := find(r)
	if err != nil || len(found) == 0 {
		return err
	}
	// The current item decides between the remaining candidates, by increasingly exact checks.
	for _, fits := range []func(candidate) bool{r.isNow, r.isManifest, r.hasList} {
		if now := filter(found, fits); len(now) > 0 {
			found = now
		}
	}
	for _, c := range found[1:] {
		if !c.same(found[0]) {
			return r.ambiguous(found)
		}
	}
	r.pin = found[0].Image
	r.alias = r.name != "" && m.read(found[0].transport, r.name).String() != found[0].Reference
	return nil
}

// isNow reports whether the manifest has the image c already.
func (r *imageRef) isNow(c candidate) bool { return c.ID.String() == r.key || r.isManifest(c) }

func (r *imageRef) isManifest(c candidate) bool {
	return r.item.digest != "" && c.Manifest.String() == r.item.digest
}

func (r *imageRef) hasList(c candidate) bool {
	return c.List != "" && r.lists != nil && r.lists.has(c.List.String())
}

// known returns the pins that may match a reference with an id: by its name, or otherwise by the name in its source
// item.
func (m *matcher) known(r *imageRef) ([]candidate, error) {
	transport := cmp.Or(r.item.transport, request.Docker)
	if r.storage {
		transport = request.ContainersStorage
	}
	fits := func(c candidate) bool { return c.transport == transport && c.StorageLocation == r.item.location }

	name := m.read(transport, r.name)
	byName := filter(m.pins, func(c candidate) bool { return fits(c) && c.Reference == name.String() })
	source := m.read(transport, r.item.name)
	tagged := source.Tag != "" && strings.HasSuffix(r.item.name, ":"+source.Tag)
	bySource := filter(m.pins, func(c candidate) bool {
		return fits(c) && c.repository == source.Name && (!tagged || c.Reference == source.String())
	})
	if len(byName) == 0 {
		if name.Name == source.Name && strings.HasSuffix(r.name, ":"+name.Tag) {
			return nil, nil // another tag of the same repository
		}
		return bySource, nil
	}
	if len(bySource) > 0 && bySource[0].repository != byName[0].repository &&
		!slices.ContainsFunc(byName, r.isNow) && !m.explained(r, source.Name) {
		return nil, r.ambiguous([]candidate{byName[0], bySource[0]})
	}
	return byName, nil
}

// explained reports whether another reference with the same key accounts for the name in r's source item: its own name
// is of that repository, or is not pinned. Two names of one image share an item.
func (m *matcher) explained(r *imageRef, repository string) bool {
	return slices.ContainsFunc(m.same[r.key], func(o *imageRef) bool {
		if o == r {
			return false
		}
		name := m.read(request.Docker, o.name)
		return name.Name == repository || !slices.ContainsFunc(m.pins, func(c candidate) bool { return c.Reference == name.String() })
	})
}

// read parses a name in the manifest. It returns the zero Reference, which matches nothing, for an invalid name.
func (m *matcher) read(transport, name string) pin.Reference {
	if name == "" {
		return pin.Reference{}
	}
	if transport == request.ContainersStorage && !strings.HasPrefix(name, request.ContainersStorage+":") {
		name = request.ContainersStorage + ":" + name
	}
	ref, err := m.parse(name)
	if err != nil {
		return pin.Reference{}
	}
	return ref
}

// named returns the pins for a name to fill in.
func (m *matcher) named(r *imageRef) ([]candidate, error) {
	text := r.key
	if r.storage && !strings.HasPrefix(text, request.ContainersStorage+":") {
		text = request.ContainersStorage + ":" + text
	}
	ref, err := m.parse(text)
	if err != nil {
		return nil, err
	}
	if ref.Transport == request.ContainersStorage && r.storage && ref.Location != "" {
		return nil, hint.Add(fmt.Errorf("image %s: an input of type %s reads the host's own storage", r.key, storageInput), "leave out the brackets")
	}
	found := filter(m.pins, func(c candidate) bool {
		return c.transport == ref.Transport && c.StorageLocation == ref.Location && c.Reference == ref.String()
	})
	if len(found) == 0 {
		return nil, hint.Add(fmt.Errorf("image %s is not pinned", r.key), "pin it first: osbuild-containers pin %s", text)
	}
	if ref.Digest != "" {
		for _, c := range found {
			if c.Pinned() != ref.Digest && c.Manifest != ref.Digest {
				return nil, hint.Add(fmt.Errorf("image %s is pinned to %s", r.key, c.Pinned()), "write it without digest, or pin it again")
			}
		}
	}
	return found, nil
}

func filter(all []candidate, keep func(candidate) bool) (found []candidate) {
	for _, c := range all {
		if keep(c) {
			found = append(found, c)
		}
	}
	return found
}

// ambiguous returns an error that lists the candidates.
func (r *imageRef) ambiguous(found []candidate) error {
	several := &hint.List{What: fmt.Sprintf("image %s could be one of several pins", cmp.Or(r.name, r.item.name, r.key))}
	references, platforms := map[string]bool{}, map[string]bool{}
	for _, c := range found {
		several.Items = append(several.Items, c.String())
		references[c.Reference], platforms[c.Platform] = true, true
	}
	var remedies []string
	if len(platforms) > 1 {
		remedies = append(remedies, "say for which architecture the manifest is, with --arch")
	}
	if len(references) > 1 {
		remedies = append(remedies, fmt.Sprintf("say which by its name: put %q in the place of the id", found[0].Reference))
	}
	return hint.Add(several, "%s", strings.Join(remedies, "; "))
}
