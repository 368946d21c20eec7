package pin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"go.yaml.in/yaml/v3"
)

// The lock file of imgpkg, which kbld writes and reads.
const (
	imgpkgVersion = "imgpkg.carvel.dev/v1alpha1"
	imgpkgKind    = "ImagesLock"
	kbldID        = "kbld.carvel.dev/id" // the reference that kbld replaces by the digest
	kbldOrigins   = "kbld.carvel.dev/origins"
)

type imagesLock struct {
	APIVersion string        `yaml:"apiVersion"`
	Kind       string        `yaml:"kind"`
	Images     []lockedImage `yaml:"images"`
}

type lockedImage struct {
	Annotations map[string]string `yaml:"annotations,omitempty"`
	Image       string            `yaml:"image"`
}

// origin is one entry of the annotation kbldOrigins.
type origin struct {
	Resolved *resolvedOrigin `yaml:"resolved,omitempty"`
}

type resolvedOrigin struct {
	Tag string `yaml:"tag,omitempty"`
	URL string `yaml:"url"`
}

func isImagesLock(raw []byte) bool {
	var head struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string `yaml:"kind"`
	}
	return yaml.Unmarshal(raw, &head) == nil && (head.Kind != "" || strings.HasPrefix(head.APIVersion, "imgpkg."))
}

func encodeImgpkg(all []other) ([]byte, error) {
	lock := imagesLock{APIVersion: imgpkgVersion, Kind: imgpkgKind, Images: []lockedImage{}}
	for _, o := range all {
		named, err := reference.ParseNormalizedNamed(o.reference)
		if err != nil {
			return nil, err
		}
		where := &resolvedOrigin{URL: o.reference}
		if t, ok := named.(reference.Tagged); ok {
			where.Tag = t.Tag()
		}
		origins, err := toYAML([]origin{{where}})
		if err != nil {
			return nil, err
		}
		lock.Images = append(lock.Images, lockedImage{
			Annotations: map[string]string{kbldID: o.reference, kbldOrigins: string(origins)},
			Image:       named.Name() + "@" + o.digest.String(),
		})
	}
	out, err := toYAML(lock)
	return append([]byte("---\n"), out...), err
}

// toYAML indents as kbld does.
func toYAML(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(v), enc.Close()); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	return b.Bytes(), nil
}

func decodeImgpkg(raw []byte) ([]string, error) {
	var lock, more imagesLock
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	if err := dec.Decode(&lock); err != nil {
		return nil, fmt.Errorf("not YAML: %w", err)
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("several YAML documents are in the file: one ImagesLock is expected")
	}
	if lock.APIVersion != imgpkgVersion || lock.Kind != imgpkgKind {
		return nil, fmt.Errorf("apiVersion %q and kind %q are not those of an ImagesLock, %s", lock.APIVersion, lock.Kind, imgpkgVersion)
	}
	all := make([]other, 0, len(lock.Images))
	for n, i := range lock.Images {
		o, err := pinnedName(i.Image)
		if err != nil {
			return nil, fmt.Errorf("images[%d].image: %w", n, err)
		}
		if name, _, found := strings.Cut(o.reference, "@"); found {
			if tag := i.tag(); tag != "" {
				o.reference = name + ":" + tag
			}
		}
		all = append(all, o)
	}
	return spell(all), nil
}

// tag is what the image was known by, as kbld has noted it, "" if it has not.
func (i lockedImage) tag() string {
	var origins []origin
	if err := yaml.Unmarshal([]byte(i.Annotations[kbldOrigins]), &origins); err == nil {
		for _, o := range origins {
			if o.Resolved != nil && o.Resolved.Tag != "" {
				return o.Resolved.Tag
			}
		}
	}
	named, err := reference.ParseNormalizedNamed(i.Annotations[kbldID])
	if err != nil {
		return ""
	}
	if t, ok := named.(reference.Tagged); ok {
		return t.Tag()
	}
	return ""
}

// pinnedName reads a name that must have a digest.
func pinnedName(text string) (other, error) {
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return other{}, fmt.Errorf("%q is not the name of an image: %w", text, err)
	}
	d, ok := named.(reference.Digested)
	if !ok || d.Digest().Algorithm() != digest.SHA256 {
		return other{}, fmt.Errorf("%q has no digest sha256:…", text)
	}
	o := other{reference: named.Name() + "@" + d.Digest().String(), digest: d.Digest()}
	if t, ok := named.(reference.Tagged); ok {
		o.reference = named.Name() + ":" + t.Tag()
	}
	return o, nil
}
