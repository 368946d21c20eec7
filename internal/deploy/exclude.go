package deploy

import (
	"fmt"
	"path"
	"strings"

	"github.com/moby/patternmatcher"
)

// excluder knows what is not written.
type excluder struct {
	patterns []*pattern
}

// pattern is one line, of which the last that matches counts.
type pattern struct {
	text    string
	keep    bool // it begins with "!": what matches is written after all
	literal string
	globs   *patternmatcher.PatternMatcher // nil: only literal
	matched bool
}

// newExcluder reads the patterns. Each is also a plain path: a file whose name is the
// pattern is meant by it, as it always was.
func newExcluder(lines []string) (*excluder, error) {
	x := &excluder{}
	for _, line := range lines {
		p := &pattern{text: line}
		x.patterns = append(x.patterns, p)
		text := line
		if rest, ok := strings.CutPrefix(line, "!"); ok {
			p.keep, text = true, rest
		}
		if outside(text) {
			continue // and so it matches nothing
		}
		p.literal = clean(text)
		if p.literal == "." {
			return nil, fmt.Errorf("exclude %q: that is the whole tree", line)
		}
		if strings.ContainsAny(text, `*?[\`) {
			p.globs = compile(p.literal)
		}
	}
	return x, nil
}

// compile returns nil for what is no pattern. That shows when it is used first, and it
// must not be used again then.
func compile(text string) *patternmatcher.PatternMatcher {
	globs, err := patternmatcher.New([]string{text})
	if err == nil {
		_, err = globs.MatchesOrParentMatches("x")
	}
	if err != nil {
		return nil
	}
	return globs
}

// outside reports whether a path leads out of the folder that it begins in.
func outside(name string) bool {
	name = path.Clean(strings.TrimLeft(name, "/"))
	return name == ".." || strings.HasPrefix(name, "../")
}

// covers is has without taking note of which patterns match.
func (x *excluder) covers(name string) bool {
	in := false
	for _, p := range x.patterns {
		if p.match(name) {
			in = !p.keep
		}
	}
	return in
}

// has reports whether a clean name is not to be written.
func (x *excluder) has(name string) bool {
	if len(x.patterns) == 0 || name == "." {
		return false
	}
	in := false
	for _, p := range x.patterns {
		if p.match(name) {
			p.matched = true
			in = !p.keep
		}
	}
	return in
}

// match reports whether the name or a folder that it lies in is meant.
func (p *pattern) match(name string) bool {
	if p.literal == "" {
		return false
	}
	if below(name, p.literal) {
		return true
	}
	if p.globs == nil {
		return false
	}
	ok, err := p.globs.MatchesOrParentMatches(name)
	return ok && err == nil
}

// warnings are about the patterns that meant nothing.
func (x *excluder) warnings() []string {
	var texts []string
	for _, p := range x.patterns {
		switch {
		case p.literal == "":
			texts = append(texts, fmt.Sprintf("warning: exclude %q leads out of the tree and was ignored", p.text))
		case !p.matched:
			texts = append(texts, fmt.Sprintf("warning: exclude %q matched nothing", p.text))
		}
	}
	return texts
}

// excludeThroughLinks removes what a plain path means that runs through symbolic links
// of the image: "lib/modules" where lib leads to usr/lib. That the lowest layer has
// the link is not known before it is read, so this cannot be left out while writing.
func (d *deployer) excludeThroughLinks() error {
	for _, p := range d.exclude.patterns {
		if p.matched || p.keep || p.literal == "" || p.globs != nil {
			continue
		}
		parent, base := split(p.literal)
		at, err := resolve(parent, d.tree.Readlink)
		if err != nil {
			continue
		}
		name := join(at, base)
		n := d.root.find(name)
		if n == nil || !n.made || n.there {
			continue
		}
		p.matched = true
		if err := d.tree.Remove(name); err != nil {
			return err
		}
		delete(d.root.find(at).kids, base)
	}
	return nil
}
