package deploy

import (
	"fmt"
	"path"
	"strings"

	"github.com/moby/patternmatcher"
)

// excluder matches paths against the exclude patterns.
type excluder struct {
	patterns []*pattern
}

// pattern is one line of the list. The last one that matches a path decides.
type pattern struct {
	text    string
	keep    bool // it begins with "!": matching paths are written after all
	literal string
	globs   *patternmatcher.PatternMatcher // nil: only literal
	matched bool
}

// newExcluder parses the patterns. Each is also a literal path, so a file whose name is the text of
// the pattern matches it too.
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
			continue // and thus matches nothing
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

// compile returns nil for an invalid pattern. The library compiles a pattern on its first use, and
// must not use it again after that failed.
func compile(text string) *patternmatcher.PatternMatcher {
	globs, err := patternmatcher.New([]string{text})
	if err == nil {
		_, err = globs.MatchesUsingParentResult("x", false) //nolint:staticcheck // see matches
	}
	if err != nil {
		return nil
	}
	return globs
}

// outside reports whether a path leads out of the directory that it is relative to.
func outside(name string) bool {
	name = path.Clean(strings.TrimLeft(name, "/"))
	return name == ".." || strings.HasPrefix(name, "../")
}

// match returns the number of the last pattern that matches this very name, counted from 1, or 0.
func (x *excluder) match(name string) int32 {
	last := int32(0)
	for i, p := range x.patterns {
		if p.match(name) {
			p.matched = true
			last = int32(i) + 1
		}
	}
	return last
}

// excludes reports whether a path is excluded, itself or with a directory that it is in.
func (x *excluder) excludes(name string) bool {
	last := int32(0)
	for i, c := range name + "/" {
		if c == '/' {
			last = max(last, x.match(name[:i]))
		}
	}
	return last > 0 && !x.patterns[last-1].keep
}

func (p *pattern) match(name string) bool {
	if p.literal == "" {
		return false
	}
	return name == p.literal || p.globs != nil && matches(p.globs, name)
}

// matches reports whether a pattern matches this very name. The other methods of the library would
// also try every parent directory, for each name again. This method is deprecated because it is
// wrong for several patterns with exceptions; here it gets one pattern without exceptions.
func matches(globs *patternmatcher.PatternMatcher, name string) bool {
	ok, err := globs.MatchesUsingParentResult(name, false) //nolint:staticcheck // see above
	return ok && err == nil
}

// excluded reports whether a path of the layer is not to be written.
func (d *deployer) excluded(l *layerState, o *layerPath) bool {
	if len(d.exclude.patterns) == 0 {
		return false
	}
	last := d.rule(l, o)
	return last > 0 && !d.exclude.patterns[last-1].keep
}

// rule returns the number of the last pattern that matches a path of the layer or one of its parent
// directories, counted from 1, or 0.
func (d *deployer) rule(l *layerState, o *layerPath) int32 {
	if o.id == 0 {
		return 0
	}
	if o.v.rule == 0 {
		d.steps += 1 + int64(o.length)/16
		o.v.rule = 1 + max(d.rule(l, l.own.parent(o)), d.exclude.match(l.own.path(o)))
	}
	return o.v.rule - 1
}

// warnings returns a warning for each pattern that matched nothing.
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

// excludeThroughLinks removes files that a literal path names through symbolic links of the image,
// such as "lib/modules" where lib links to usr/lib. The link may be in the lowest layer, so these
// files cannot be skipped while writing.
func (d *deployer) excludeThroughLinks() error {
	for _, p := range d.exclude.patterns {
		if p.keep || p.literal == "" || p.globs != nil {
			continue
		}
		parent, base := split(p.literal)
		at, err := resolve(parent, d.dest.Readlink)
		if err != nil || at == parent {
			continue
		}
		name := join(at, base)
		n := d.paths.find(name)
		if n == nil || !n.v.made || n.v.there {
			continue
		}
		p.matched = true
		if err := d.dest.Remove(name); err != nil {
			return err
		}
		n.v.made = false
	}
	return nil
}
