package pin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// Formats are the ways in which others write pins, by name.
var Formats = []string{"imgpkg", "lines", "buildkit"}

// other is a pin as other formats have it: a reference with its digest, for all its platforms.
type other struct {
	reference string // with its tag
	digest    digest.Digest
}

// pinned is name:tag@digest, or name@digest where there is no tag.
func (o other) pinned() string {
	if name, _, found := strings.Cut(o.reference, "@"); found {
		return name + "@" + o.digest.String()
	}
	return o.reference + "@" + o.digest.String()
}

// others are the pins of the file as other formats have them.
func (f *File) others(format string) ([]other, error) {
	var all []other
	for n := range f.Images {
		i := &f.Images[n]
		if i.Transport != "" {
			return nil, fmt.Errorf("%s is pinned in %s, which the format %s cannot say", i.Reference, i.Transport, format)
		}
		o := other{i.Reference, i.Pinned()}
		if !slices.Contains(all, o) {
			all = append(all, o)
		}
	}
	return all, nil
}

// EncodeAs writes the pins in the format of another tool. What these have is the reference and the
// digest that its tag pointed to; two digests of one tag, pinned for two platforms at
// different times, are refused where the format has room for one.
func (f *File) EncodeAs(format string) ([]byte, error) {
	if !slices.Contains(Formats, format) {
		return nil, fmt.Errorf("the format %q is not known: use %s", format, strings.Join(Formats, ", "))
	}
	all, err := f.others(format)
	if err != nil {
		return nil, err
	}
	seen := map[string]digest.Digest{}
	for _, o := range all {
		if d, twice := seen[o.reference]; twice {
			return nil, fmt.Errorf("%s is pinned to both %s and %s, the format %s has room for one\npin it for all its platforms at once",
				o.reference, Short(d), Short(o.digest), format)
		}
		seen[o.reference] = o.digest
	}
	switch format {
	case "imgpkg":
		return encodeImgpkg(all)
	case "buildkit":
		return encodeBuildkit(all)
	}
	return encodeLines(all), nil
}

// Decode returns the references that a file names, as ParseReference reads them. It tells by itself
// which format the file has: a pin file, one of Formats, or lines that are references.
func Decode(raw []byte) ([]string, error) {
	text := bytes.TrimSpace(raw)
	if len(text) > 0 && text[0] == '{' {
		return decodeJSON(raw)
	}
	if isImagesLock(raw) {
		return decodeImgpkg(raw)
	}
	return decodeLines(raw)
}

func decodeJSON(raw []byte) ([]string, error) {
	var kind struct {
		Images json.RawMessage
		Rules  json.RawMessage
	}
	if err := json.Unmarshal(raw, &kind); err == nil && kind.Rules != nil && kind.Images == nil {
		return decodeBuildkit(raw)
	}
	f, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	var texts []string
	for n := range f.Images {
		i := &f.Images[n]
		text := other{i.Reference, i.Pinned()}.pinned()
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

func spell(all []other) []string {
	texts := make([]string, len(all))
	for n, o := range all {
		texts[n] = o.pinned()
	}
	return texts
}

// encodeLines writes name:tag@digest, one a line.
func encodeLines(all []other) []byte {
	var b bytes.Buffer
	for _, o := range all {
		fmt.Fprintln(&b, o.pinned())
	}
	return b.Bytes()
}

// decodeLines reads references, one a line; from a # on, a line is a comment.
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
