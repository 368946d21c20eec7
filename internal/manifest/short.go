package manifest

import (
	"strings"

	"github.com/opencontainers/go-digest"
)

// Short returns the first 12 hexadecimal digits of a digest, enough for people to tell digests apart, "" for none. The
// digest need not be valid.
func Short(d digest.Digest) string {
	_, hex, _ := strings.Cut(d.String(), ":")
	return hex[:min(len(hex), 12)]
}
