package userns

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Reasons why parts of an image are left out.
const (
	NoDevices    = "only root of the host can make device nodes"
	NoTrusted    = "only root of the host can set attributes of trusted"
	NoSecurity   = "only root of the host can set attributes of security"
	NoCapability = "only root, of the host or of a user namespace, can set file capabilities"
	NoOwners     = "owners are ignored"
)

// WhyNot returns why only root of the host can set an attribute, or "" if others can.
func WhyNot(attr string) string {
	switch {
	case strings.HasPrefix(attr, "trusted."):
		return NoTrusted
	case strings.HasPrefix(attr, "security.") && attr != "security.capability":
		return NoSecurity
	default:
		return ""
	}
}

// Losses counts what is left out of an image, by reason. The zero value is empty. It is not safe for concurrent use.
type Losses struct{ kinds map[string]loss }

type loss struct {
	first, verb string
	count       int
}

// Add counts an attribute of a file, an owner with the reason NoOwners, or, if attr is empty, the file itself.
func (l *Losses) Add(name, attr, why string) {
	one := loss{first: fmt.Sprintf("%s of %q", attr, name), verb: "set", count: 1}
	switch {
	case attr == "":
		one.first, one.verb = strconv.Quote(name), "made"
	case why == NoOwners:
		one.verb = "kept"
	}
	l.add(why, one)
}

func (l *Losses) add(why string, one loss) {
	if l.kinds == nil {
		l.kinds = map[string]loss{}
	}
	if before, ok := l.kinds[why]; ok {
		one.count += before.count
		one.first = before.first
	}
	l.kinds[why] = one
}

// Merge adds the losses of other, which must be later ones.
func (l *Losses) Merge(other *Losses) {
	for why, k := range other.kinds {
		l.add(why, k)
	}
}

// Report logs one warning for each reason, with the count and the first name.
func (l *Losses) Report(note func(format string, args ...any)) {
	for _, why := range slices.Sorted(maps.Keys(l.kinds)) {
		k := l.kinds[why]
		if k.count == 1 {
			note("warning: %s: 1 is not %s: %s", why, k.verb, k.first)
			continue
		}
		note("warning: %s: %d are not %s, the first is %s", why, k.count, k.verb, k.first)
	}
}
