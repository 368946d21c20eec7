package skopeo

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/input"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/request"
)

// list is a manifest list of the input.
type list struct {
	key string
	raw []byte
	m   *manifest.Manifest
}

type lists []*list

// readLists reads the manifest lists of the input, which are optional.
func readLists(a *request.Arguments) (lists, error) {
	in, ok := a.Inputs["manifest-lists"]
	if !ok {
		return nil, nil
	}
	files, err := in.Files()
	if err != nil {
		return nil, err
	}
	var all lists
	for _, f := range files {
		l, err := readList(f.Path, f.Key)
		if err != nil {
			return nil, fmt.Errorf("manifest list %s: %w", f.Key, err)
		}
		all = append(all, l)
	}
	return all, nil
}

func readList(path, key string) (*list, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > manifest.MaxSize {
		return nil, fmt.Errorf("not a regular file of at most %d bytes", manifest.MaxSize)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if want, err := digest.Parse(key); err == nil && digest.FromBytes(raw) != want {
		return nil, manifest.Mismatch("", digest.FromBytes(raw), want)
	}
	m, err := manifest.Parse(raw)
	if err != nil {
		return nil, err
	}
	if !m.List {
		return nil, errors.New("not a manifest list, but the manifest of an image")
	}
	return &list{key: key, raw: raw, m: m}, nil
}

// names reports whether the list names the image, by its manifest digest or by the digest it had when it was pulled
// into the store.
func (l *list) names(i *input.Image) bool {
	known := []digest.Digest{i.Digest()}
	if raw := i.Origin(); raw != nil {
		known = append(known, digest.FromBytes(raw))
	}
	return slices.ContainsFunc(l.m.Entries, func(e manifest.Entry) bool { return slices.Contains(known, e.Digest) })
}

// match returns an error unless every list names at least one of the images.
func (ls lists) match(images []*input.Image) error {
	var lost []string
	for _, l := range ls {
		if !slices.ContainsFunc(images, l.names) {
			lost = append(lost, l.key)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	var have []string
	for _, i := range images {
		have = append(have, fmt.Sprintf("%q is %s", i.Name(), i.Digest()))
	}
	return fmt.Errorf("manifest lists that name none of the images: %s; the images are: %s", strings.Join(lost, ", "), strings.Join(have, ", "))
}

// of returns the lists that name the image.
func (ls lists) of(i *input.Image) [][]byte {
	var raw [][]byte
	for _, l := range ls {
		if l.names(i) {
			raw = append(raw, l.raw)
		}
	}
	return raw
}
