package deploy

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"

	"osbuild-containers/internal/layer"
)

// again is the second pass, over the layers that have what was put off.
func (d *deployer) again(ctx context.Context) error {
	for _, k := range slices.Sorted(maps.Keys(d.late)) {
		if err := d.rest(ctx, k, d.late[k]); err != nil {
			return d.in(k, err)
		}
	}
	return nil
}

// rest writes entries of a layer that were not written before.
func (d *deployer) rest(ctx context.Context, k int, groups map[int]*group) error {
	for i, g := range groups {
		g.members = slices.DeleteFunc(g.members, func(m member) bool { return m.node.group != g })
		if len(g.members) == 0 {
			delete(groups, i)
		}
	}
	if len(groups) == 0 {
		return nil
	}
	s := layer.Start(ctx, d.layers[k-1], layer.NewBudget(0), d.limits.layer())
	defer s.Close()
	entries := s.Entries()
	left := len(groups)
	for { // to the end, where the digests say whether it is what was read first
		e, err := entries.Next()
		if err == io.EOF && left > 0 {
			return errors.New("it has changed since it was read first")
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		g := groups[e.Index]
		if g == nil {
			continue
		}
		left--
		first := g.members[0]
		if err := d.write(first.name, e, entries); err != nil {
			return err
		}
		for _, m := range g.members[1:] {
			if err := d.tree.Link(m.name, first.name); err != nil {
				return err
			}
		}
	}
}
