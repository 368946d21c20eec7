package request

import (
	"regexp"
	"strings"
)

// optionName finds what is an option in a hint, spelled as in a request or as a flag.
var optionName = regexp.MustCompile(`(?:--)?\b(?:tls-verify: (?:true|false)|(?:stall-|header-)?timeout\b|retries\b|max-parallel\b)`)

// AsFlags spells the options that a hint names as flags: --retries for retries, --tls-verify=false for
// tls-verify: false.
func AsFlags(hint string) string {
	return optionName.ReplaceAllStringFunc(hint, func(name string) string {
		return "--" + strings.Replace(strings.TrimPrefix(name, "--"), ": ", "=", 1)
	})
}

// Spell spells a hint for the front end that made the request.
func (o Options) Spell(hint string) string {
	if o.Flags {
		return AsFlags(hint)
	}
	return hint
}
