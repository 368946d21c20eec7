package inject

import (
	"fmt"
	"slices"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/pin"
)

// list is one manifest list of a stage.
type list struct {
	old    string // current digest, "" if it is new
	key    string // new digest, "" if it is removed
	pin    *pin.Image
	owners []*imageRef // images of the stage that it belongs to, if known
	stays  []*imageRef // unchanged images that a list may belong to that is kept
}

// planLists decides how the manifest lists of a stage change. A list belongs to the images that are fetched from
// the same repository. An image without a list gets none, since the stage's author omitted it; an image that is
// filled in gets its list.
func (s *stage) planLists(m *model) error {
	in := s.listed()
	if in == nil || s.lists == nil && s.kind != skopeoStage {
		return nil
	}
	if s.lists != nil {
		if err := s.readLists(in); err != nil {
			return err
		}
		if err := s.replaceLists(m, in); err != nil {
			return err
		}
	}
	for _, r := range in.refs {
		if r.fresh && r.pin != nil && r.pin.List != "" {
			s.addList(r.pin)
		}
	}
	for n := range s.listItems {
		l := &s.listItems[n]
		name := m.listName(l.key, in)
		for _, r := range in.refs {
			switch {
			case r.pin != nil && l.key != "" && r.pin.List.String() == l.key:
				l.owners = append(l.owners, r)
				l.pin = r.pin
			case l.pin != nil || name != "" && !r.belongs(name):
			case r.pin == nil:
				l.owners = append(l.owners, r)
			case !r.fresh:
				l.stays = append(l.stays, r)
			}
		}
	}
	return nil
}

func (s *stage) readLists(in *input) error {
	for n := range s.lists.len() {
		key := s.lists.key(n)
		if !idPattern.MatchString(key) {
			return hint.Add(fmt.Errorf("%s.inputs.%s: %q is not the digest of a list", s.at, listsName, key),
				"leave it out: a list is added with its image")
		}
		l := list{old: key, key: key}
		for _, r := range in.refs {
			if r.pin != nil && r.pin.List.String() == key {
				l.pin = r.pin
			}
		}
		s.listItems = append(s.listItems, l)
	}
	return nil
}

// replaceLists replaces existing lists by pinned ones.
func (s *stage) replaceLists(m *model, in *input) error {
	groups := map[string][]int{} // lists to replace, by repository
	var names []string
	for n, l := range s.listItems {
		if l.pin != nil {
			continue
		}
		name := m.listName(l.old, in)
		if groups[name] == nil {
			names = append(names, name)
		}
		groups[name] = append(groups[name], n)
	}
	for _, name := range names {
		if err := s.replaceGroup(m, in, name, groups[name]); err != nil {
			return err
		}
	}
	return nil
}

// listName returns the repository that a list is fetched from, if an image of the stage is from there too.
// Otherwise it returns "", and the list may belong to any image: a list without an image is an error in all tools.
func (m *model) listName(key string, in *input) string {
	name := m.index(key)
	if slices.ContainsFunc(in.refs, func(r *imageRef) bool { return r.belongs(name) }) {
		return name
	}
	return ""
}

// replaceGroup replaces the lists that belong to the images of one repository.
func (s *stage) replaceGroup(m *model, in *input, name string, places []int) error {
	var moved, open *imageRef
	var images int
	var wanted []*pin.Image
	for _, r := range in.refs {
		switch {
		case name != "" && !r.belongs(name):
			continue
		case r.pin == nil:
			open = r
			continue
		case m.moves(r):
			moved = r
		}
		images++
		has := func(i *pin.Image) bool { return i.List == r.pin.List }
		if r.pin.List != "" && !s.hasList(r.pin.List.String()) && !slices.ContainsFunc(wanted, has) {
			wanted = append(wanted, r.pin)
		}
	}
	fresh := slices.ContainsFunc(in.refs, func(r *imageRef) bool { return r.fresh && (name == "" || r.belongs(name)) })
	switch {
	case images == 0, open != nil && moved == nil:
		return nil
	case open != nil:
		return hint.Add(fmt.Errorf("%s.inputs.%s: a list belongs to %s, which is pinned, or to %s, which is not",
			s.at, listsName, moved.label(), open.label()), "pin both")
	case len(wanted) == 0 && moved == nil && !fresh:
		return nil
	}
	for i, n := range places {
		s.listItems[n].key = ""
		if i < len(wanted) {
			s.listItems[n].key, s.listItems[n].pin = wanted[i].List.String(), wanted[i]
		}
	}
	for _, p := range wanted[min(len(wanted), len(places)):] {
		s.addList(p)
	}
	return nil
}

// moves reports whether an existing image changes, or its manifest does.
func (m *model) moves(r *imageRef) bool {
	return !r.fresh && (r.key != r.result() || !m.settled[r.key])
}

// belongs reports whether a list of that repository may belong to the image.
func (r *imageRef) belongs(name string) bool {
	return name != "" && (r.item.name != "" && repository(r.item.name) == name || r.pin != nil && repository(r.pin.Reference) == name)
}

func (s *stage) hasList(key string) bool {
	return slices.ContainsFunc(s.listItems, func(l list) bool { return l.key == key })
}

func (s *stage) addList(p *pin.Image) {
	if !s.hasList(p.List.String()) {
		s.listItems = append(s.listItems, list{key: p.List.String(), pin: p})
	}
}

// writeLists writes the planned lists to the stage.
func (s *stage) writeLists(style *style) {
	if s.lists == nil {
		if len(s.listItems) == 0 {
			return
		}
		keys := make([]string, len(s.listItems))
		for n, l := range s.listItems {
			keys[n] = l.key
		}
		after, _ := find(s.inputs, "", s.listed().name)
		style.addField(s.inputs, after, field{listsName, []field{
			{"type", filesInput},
			{"origin", fromSource},
			{"references", keys},
		}})
		return
	}
	for n, l := range s.listItems {
		switch {
		case l.old == "":
			s.lists.add(style, l.key)
		case l.key != "":
			s.lists.setKey(n, l.key)
		}
	}
	for n := len(s.listItems) - 1; n >= 0; n-- {
		if s.listItems[n].key == "" {
			s.lists.remove(n)
		}
	}
	if len(s.listItems) > 0 && s.lists.len() == 0 {
		n, _ := find(s.inputs, "", listsName)
		removeField(s.inputs, n)
	}
}
