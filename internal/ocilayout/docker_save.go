package ocilayout

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
)

// Saved is one image of an archive written by docker save since 1.10.
type Saved struct {
	ID     digest.Digest // of Config
	Config []byte
	Names  []string
	Layers []string // file names in the archive, lowest first
}

// File names in an archive of docker save.
const (
	savedManifest = "manifest.json"
	repositories  = "repositories"
	v1Config      = "json"
	v1Layer       = "layer.tar"
)

// ErrNotSaved reports an archive that was not written by docker save.
var ErrNotSaved = errors.New("there is neither an index.json, nor a manifest.json, nor an image of an old docker in it: not an archive of images")

// hexName matches the digest in the name of a config.
var hexName = regexp.MustCompile(`(?:^|[/:])([0-9a-f]{64})(?:\.json)?$`)

// Saved returns the images in an archive of docker save. Configs are verified, since their names contain their digests.
func (t *Tree) Saved() ([]Saved, error) {
	raw, err := t.Document(savedManifest, "")
	if err != nil {
		return nil, err
	}
	var entries []struct {
		Config   string   `json:"Config"`
		RepoTags []string `json:"RepoTags"`
		Layers   []string `json:"Layers"`
	}
	if err := manifest.Unmarshal(raw, &entries); err != nil {
		return nil, fmt.Errorf("%s is not what docker save writes: %w", savedManifest, err)
	}
	saved := make([]Saved, 0, len(entries))
	size := 0
	for n, e := range entries {
		config, err := t.Document(clean(e.Config), "")
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("the config %q is missing", e.Config)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: image %d: %w", savedManifest, n+1, err)
		}
		if size += len(config); size > maxDocuments {
			return nil, fmt.Errorf("configs with more than the limit of %d bytes", maxDocuments)
		}
		s := Saved{ID: digest.FromBytes(config), Config: config, Names: e.RepoTags}
		if m := hexName.FindStringSubmatch(e.Config); m != nil && m[1] != s.ID.Encoded() {
			return nil, fmt.Errorf("%s: image %d: the config %s: %w", savedManifest, n+1, e.Config, manifest.Mismatch("", s.ID, digest.NewDigestFromEncoded(digest.SHA256, m[1])))
		}
		if err := checkNames(s.ID.String(), s.Names); err != nil {
			return nil, fmt.Errorf("%s: image %w", savedManifest, err)
		}
		for _, l := range e.Layers {
			s.Layers = append(s.Layers, clean(l))
		}
		saved = append(saved, s)
	}
	return saved, nil
}

// SavedV1 is one image of an archive written by docker save before 1.10: a chain of layers, each with the config of the image
// whose top layer it is.
type SavedV1 struct {
	Names  []string
	Layers []V1Layer // lowest first
}

// V1Layer is a layer of a SavedV1. Its id says nothing about its content.
type V1Layer struct {
	ID   string
	JSON []byte
	Tar  string // file name in the archive
}

// maxV1Layers is far above docker's limit for an image.
const maxV1Layers = 1000

// SavedV1 returns the images in an archive of an old docker save: the named ones, and those that no other is built on.
func (t *Tree) SavedV1() ([]SavedV1, error) {
	r := &v1Reader{t: t, layers: map[string]*v1Entry{}}
	for _, name := range t.Names() {
		id, file := path.Split(name)
		if id = strings.TrimSuffix(id, "/"); file == v1Config && id != "" && !strings.Contains(id, "/") {
			if err := r.read(id); err != nil {
				return nil, err
			}
		}
	}
	if len(r.layers) == 0 {
		return nil, ErrNotSaved
	}
	names, err := r.names()
	if err != nil {
		return nil, err
	}
	for id, l := range r.layers {
		if parent := r.layers[l.parent]; parent != nil {
			parent.used = true
		} else if l.parent != "" {
			return nil, fmt.Errorf("layer %s is built on %q, which is missing", id, l.parent)
		}
	}
	var saved []SavedV1
	for id, l := range r.layers {
		if l.used && names[id] == nil {
			continue
		}
		s := SavedV1{Names: names[id]}
		if s.Layers, err = r.chain(id); err != nil {
			return nil, err
		}
		saved = append(saved, s)
	}
	if len(saved) == 0 {
		return nil, errors.New("each of its layers is built on another one")
	}
	slices.SortFunc(saved, func(a, b SavedV1) int {
		return cmp.Compare(a.Layers[len(a.Layers)-1].ID, b.Layers[len(b.Layers)-1].ID)
	})
	return saved, nil
}

// v1Reader reads an archive of docker save before 1.10.
type v1Reader struct {
	t      *Tree
	layers map[string]*v1Entry
	size   int
	linked int // layers in all chains
}

type v1Entry struct {
	V1Layer
	parent string
	used   bool // another layer is built on it
}

func (r *v1Reader) read(id string) error {
	raw, err := r.t.Document(id+"/"+v1Config, "")
	if err != nil {
		return err
	}
	if r.size += len(raw); r.size > maxDocuments {
		return fmt.Errorf("configs with more than the limit of %d bytes", maxDocuments)
	}
	var config struct {
		ID     string `json:"id"`
		Parent string `json:"parent"`
	}
	if err := manifest.Unmarshal(raw, &config); err != nil {
		return fmt.Errorf("%s/%s: %w", id, v1Config, err)
	}
	if config.ID != id {
		return fmt.Errorf("%s/%s is of the image %q", id, v1Config, config.ID)
	}
	r.layers[id] = &v1Entry{V1Layer: V1Layer{ID: id, JSON: raw, Tar: id + "/" + v1Layer}, parent: config.Parent}
	return nil
}

// names returns the names of the archive's images, by id.
func (r *v1Reader) names() (map[string][]string, error) {
	raw, err := r.t.Document(repositories, "")
	if errors.Is(err, os.ErrNotExist) {
		return map[string][]string{}, nil
	}
	if err != nil {
		return nil, err
	}
	var tags map[string]map[string]string
	if err := manifest.Unmarshal(raw, &tags); err != nil {
		return nil, fmt.Errorf("%s is not what docker save wrote: %w", repositories, err)
	}
	names := map[string][]string{}
	for name, ids := range tags {
		for tag, id := range ids {
			if r.layers[id] == nil {
				return nil, fmt.Errorf("%s:%s is the image %q, which is missing", name, tag, id)
			}
			names[id] = append(names[id], name+":"+tag)
		}
	}
	for id, some := range names {
		if err := checkNames(id, some); err != nil {
			return nil, fmt.Errorf("%s: image %w", repositories, err)
		}
		slices.Sort(some)
	}
	return names, nil
}

// chain returns the layers of an image.
func (r *v1Reader) chain(id string) ([]V1Layer, error) {
	var chain []V1Layer
	for at := id; at != ""; at = r.layers[at].parent {
		if r.linked++; r.linked > maxEntries {
			return nil, fmt.Errorf("images with more than the limit of %d layers", maxEntries)
		}
		if len(chain) == maxV1Layers {
			return nil, fmt.Errorf("image %s has more than the limit of %d layers, or is built on itself", id, maxV1Layers)
		}
		chain = append(chain, r.layers[at].V1Layer)
	}
	slices.Reverse(chain)
	return chain, nil
}
