package pin

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/request"
)

// A Reference is a parsed image name.
type Reference struct {
	Transport string        // request.Docker or request.ContainersStorage
	Location  string        // containers-storage: graph root, "" for that of storage.conf
	Name      string        // full name without tag and digest
	Tag       string        // "" only if there is a digest
	Digest    digest.Digest // of a manifest or manifest list; takes precedence over the tag
}

// ParseReference parses an image name, with or without docker://. It accepts short names, which registries.conf resolves,
// host:443/name, a trailing slash, a tag, a digest, and both; or containers-storage: followed by a name, with an optional
// store in brackets.
func ParseReference(a request.Access, text string) (Reference, error) {
	r, err := parseReference(a, text)
	if err != nil {
		return r, fmt.Errorf("image %q: %w", text, err)
	}
	return r, nil
}

func parseReference(a request.Access, text string) (Reference, error) {
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return Reference{}, errors.New("has a space or a control character in it")
	}
	if transport := Transport(text); transport != "" {
		rest := strings.TrimPrefix(strings.TrimPrefix(text, transport), "//")
		path, _, _ := strings.Cut(rest, ":")
		remedy := strings.NewReplacer("<path>", cmp.Or(path, "PATH"), "<name>", cmp.Or(rest, "NAME")).Replace(elsewhere[strings.TrimSuffix(transport, ":")])
		return Reference{}, hint.Add(fmt.Errorf("no image is read from %s", transport), "%s", remedy)
	}
	if rest, ok := strings.CutPrefix(text, "containers-storage:"); ok {
		return parseStored(rest)
	}
	name, uri := strings.CutPrefix(text, "docker://")
	if scheme, _, ok := strings.Cut(name, "://"); ok {
		return Reference{}, fmt.Errorf("%s:// is not read from: use docker://NAME or containers-storage:NAME", scheme)
	}
	if uri {
		name = strings.TrimPrefix(name, "/") // virt-bootstrap writes this for no registry
	}
	name = strings.TrimRight(name, "/")
	if name == "" {
		return Reference{}, errors.New("names no image")
	}
	if err := request.CheckHost(name); err != nil {
		return Reference{}, err
	}
	full, err := registry.FullName(a, name, !uri)
	if err != nil {
		return Reference{}, explainName(name, err)
	}
	return splitName(request.Docker, full)
}

// elsewhere maps transports of other tools to what to do with such an image: <path> is its path, <name> everything
// after the transport.
var elsewhere = map[string]string{
	"oci":            importIt,
	"oci-archive":    importIt,
	"docker-archive": importIt,
	"dir":            importIt,
	"tarball":        nameIt,
	"atomic":         nameIt,
	"docker-daemon":  "save it, and import it: docker save <name> -o image.tar && osbuild-containers import image.tar",
	"ostree":         nameIt,
	"sif":            nameIt,
}

const (
	importIt = "import it: osbuild-containers import <path>"
	nameIt   = "name an image: docker://NAME or containers-storage:NAME"
)

// Transport returns the prefix of another tool's transport in a reference, with the colon, or "".
func Transport(text string) string {
	if transport, _, ok := strings.Cut(text, ":"); ok && elsewhere[transport] != "" {
		return transport + ":"
	}
	return ""
}

// parseStored parses what follows containers-storage:.
func parseStored(text string) (Reference, error) {
	location := ""
	if rest, ok := strings.CutPrefix(text, "["); ok {
		store, name, found := strings.Cut(rest, "]")
		if !found {
			return Reference{}, errors.New("a bracket is not closed: [STORE]NAME")
		}
		if _, root, driver := strings.Cut(store, "@"); driver {
			store = root
		}
		location, _, _ = strings.Cut(store, "+") // followed by the run root and options
		if !filepath.IsAbs(location) {
			return Reference{}, fmt.Errorf("the store %q is not an absolute path", location)
		}
		text = name
	}
	if id := strings.TrimPrefix(text, "@"); isHex(id) {
		return Reference{}, errors.New("an image id cannot be checked or updated: give the image a name, with podman tag, and pin that")
	}
	named, err := reference.ParseNormalizedNamed(strings.TrimRight(text, "/"))
	if err != nil {
		return Reference{}, explainName(text, err)
	}
	r, err := splitName(request.ContainersStorage, reference.TagNameOnly(named).String())
	if err == nil && r.Digest != "" {
		err = errors.New("a digest does not belong to the name of a stored image: use its tag")
	}
	r.Location = location
	return r, err
}

func isHex(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// splitName splits a full name.
func splitName(transport, full string) (Reference, error) {
	named, err := reference.ParseNormalizedNamed(full)
	if err != nil {
		return Reference{}, explainName(full, err)
	}
	if transport == request.Docker {
		if err := request.CheckHost(full); err != nil {
			return Reference{}, err
		}
	}
	r := Reference{Transport: transport, Name: named.Name()}
	if t, ok := named.(reference.Tagged); ok {
		r.Tag = t.Tag()
	}
	if d, ok := named.(reference.Digested); ok {
		r.Digest = d.Digest()
		if r.Digest.Algorithm() != digest.SHA256 {
			return r, fmt.Errorf("digests are sha256 here, not %s", r.Digest.Algorithm())
		}
	}
	return r, nil
}

// explainName explains why name is not an image name.
func explainName(name string, err error) error {
	if lower := strings.ToLower(name); lower != name {
		if _, e := reference.ParseNormalizedNamed(lower); e == nil {
			return errors.New("the name must be lower case")
		}
	}
	return fmt.Errorf("is not the name of an image: %w", err)
}

// String returns name:tag, or name@digest if there is no tag: the reference in a pin file.
func (r Reference) String() string {
	if r.Tag == "" {
		return r.Name + "@" + r.Digest.String()
	}
	return r.Name + ":" + r.Tag
}

// Target returns the target to open for the reference.
func (r Reference) Target(a request.Access) image.Target {
	name := r.Name
	if r.Tag != "" {
		name += ":" + r.Tag
	}
	return image.Target{
		Image:  request.Image{Name: name, Access: a, Transport: r.Transport, StorageLocation: r.Location},
		Pinned: r.Digest,
	}
}

// ref parses the reference of a pin, without reading any configuration.
func (i *Image) ref() (Reference, error) {
	transport := i.Transport
	if transport == "" {
		transport = request.Docker
	}
	r, err := splitName(transport, i.Reference)
	if err == nil && r.Tag == "" && r.Digest == "" {
		err = errors.New("has neither a tag nor a digest")
	}
	if err != nil {
		return r, fmt.Errorf("reference: %s: %w", i.Reference, err)
	}
	r.Location = i.StorageLocation
	return r, nil
}
