package manifest

import (
	"strings"

	"github.com/opencontainers/go-digest"
)

// Short returns the first 12 hexadecimal digits of a digest, enough for people to distinguish digests, or "" for none. The
// digest need not be valid.
func Short(d digest.Digest) string {
	_, hex, _ := strings.Cut(d.String(), ":")
	return hex[:min(len(hex), 12)]
}
