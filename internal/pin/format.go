package pin

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
)

// Lines is the name of the format that EncodeLines writes.
const Lines = "lines"

// withDigest returns name:tag@digest, or name@digest if the reference has no tag.
func (i *Image) withDigest() string {
	name, _, _ := strings.Cut(i.Reference, "@")
	return name + "@" + i.Pinned().String()
}

// EncodeLines returns the pins as name:tag@digest, one per line, the form that Renovate reads and updates. The digest is
// that of the index, if there is one. An image of a containers storage is an error, and so is a reference pinned to several
// digests.
func (f *File) EncodeLines() ([]byte, error) {
	var b bytes.Buffer
	seen := map[string]digest.Digest{}
	for n := range f.Images {
		i := &f.Images[n]
		if i.Transport != "" {
			return nil, fmt.Errorf("%s is pinned in %s, which the format %s cannot express", i.Reference, i.Transport, Lines)
		}
		d, twice := seen[i.Reference]
		switch {
		case !twice:
			seen[i.Reference] = i.Pinned()
			fmt.Fprintln(&b, i.withDigest())
		case d != i.Pinned():
			return nil, hint.Add(fmt.Errorf("%s is pinned to both %s and %s, the format %s can express only one",
				i.Reference, manifest.Short(d), manifest.Short(i.Pinned()), Lines), "pin it for all its platforms at once")
		}
	}
	return b.Bytes(), nil
}

// Decode returns the references in a file, in the form that ParseReference accepts. The file is a pin file or has the
// format Lines; the first character tells.
func Decode(raw []byte) ([]string, error) {
	if text := bytes.TrimSpace(raw); len(text) > 0 && text[0] == '{' {
		return decodeFile(raw)
	}
	return decodeLines(raw)
}

func decodeFile(raw []byte) ([]string, error) {
	f, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	var texts []string
	for n := range f.Images {
		i := &f.Images[n]
		text := i.withDigest()
		if i.Transport != "" {
			text = i.Transport + ":" + i.Reference
			if i.StorageLocation != "" {
				text = i.Transport + ":[" + i.StorageLocation + "]" + i.Reference
			}
		}
		if !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return texts, nil
}

// decodeLines reads references, one per line; # starts a comment.
func decodeLines(raw []byte) ([]string, error) {
	var texts []string
	for n, line := range strings.Split(string(raw), "\n") {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		name := strings.TrimRight(strings.TrimPrefix(line, "docker://"), "/")
		if _, err := reference.ParseNormalizedNamed(name); err != nil && !strings.HasPrefix(line, "containers-storage:") {
			return nil, fmt.Errorf("line %d: %q is not the name of an image: %w", n+1, line, err)
		}
		texts = append(texts, line)
	}
	return texts, nil
}
