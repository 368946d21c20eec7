package files

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
)

// refName is the annotation with which a layout names its images.
const refName = "org.opencontainers.image.ref.name"

// maxLists is how deep manifest lists may be nested.
const maxLists = 4

// candidate is an image of an archive.
type candidate struct {
	digest digest.Digest
	about  string // its names and platform
	raw    []byte
	m      *manifest.Manifest
}

// choose finds the one image of the archive. Images that a manifest list names and
// that are not there do not count.
func (a *archive) choose() (*candidate, error) {
	b, err := a.blob("index.json")
	if err != nil {
		return nil, errors.New("there is no index.json in it: this is not an OCI archive")
	}
	raw, err := read(b, "")
	if err != nil {
		return nil, fmt.Errorf("index.json %w", err)
	}
	var found []candidate
	if err := a.list(raw, &found, 0); err != nil {
		return nil, err
	}
	switch len(found) {
	case 0:
		return nil, errors.New("there is no image in it")
	case 1:
		return &found[0], nil
	}
	lines := []string{fmt.Sprintf("there are %d images in it, and one is wanted: make an archive of one of them", len(found))}
	for _, c := range found {
		lines = append(lines, "  "+c.digest.String()+c.about)
	}
	return nil, errors.New(strings.Join(lines, "\n"))
}

// list adds the images that an index names.
func (a *archive) list(raw []byte, found *[]candidate, depth int) error {
	if depth == maxLists {
		return fmt.Errorf("manifest lists are nested more than %d levels deep", maxLists)
	}
	var index struct {
		Manifests []struct {
			manifest.Entry
			Annotations map[string]string `json:"annotations"`
		} `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return fmt.Errorf("index is not JSON: %w", err)
	}
	for _, e := range index.Manifests {
		about := ""
		if e.Platform != nil {
			about += " " + e.Platform.String()
		}
		if name := e.Annotations[refName]; name != "" {
			about += fmt.Sprintf(" %q", name)
		}
		if err := a.entry(e.Digest, about, found, depth); err != nil {
			return fmt.Errorf("manifest %s: %w", e.Digest, err)
		}
	}
	return nil
}

func (a *archive) entry(d digest.Digest, about string, found *[]candidate, depth int) error {
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return errors.New("is not named by a sha256 digest")
	}
	if i := slices.IndexFunc(*found, func(c candidate) bool { return c.digest == d }); i >= 0 {
		(*found)[i].about += about // another name
		return nil
	}
	b, err := a.open(d)
	if errors.Is(err, os.ErrNotExist) {
		if depth > 0 {
			return nil // of a list, one platform may be all there is
		}
		return errors.New("is missing")
	}
	if err != nil {
		return err
	}
	raw, err := read(b, d)
	if err != nil {
		return err
	}
	m, err := manifest.Parse(raw)
	switch {
	case errors.Is(err, manifest.ErrArtifact) && depth > 0:
		return nil // an attestation beside the image
	case err != nil:
		return err
	case m.List:
		return a.list(raw, found, depth+1)
	}
	*found = append(*found, candidate{d, about, raw, m})
	return nil
}
