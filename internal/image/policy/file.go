package policy

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/types"
)

// A File is an image in a file or directory: no registry vouches for its name.
type File struct {
	Transport  string   // transport in policy.json: dir, oci, oci-archive or docker-archive
	Path       string   // of the file or directory
	Manifest   []byte   // its bytes
	Signatures [][]byte // in the format of the dir: transport
}

// Allowed checks policy.json for the image by its transport and path, as skopeo does.
func (f File) Allowed(ctx context.Context) error {
	if AcceptsAll() {
		return nil
	}
	path, err := filepath.Abs(f.Path)
	if err != nil {
		return err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return err
	}
	return Allowed(ctx, Scope(f.Transport, path), func() ([]byte, [][]byte, error) {
		return f.Manifest, f.Signatures, nil
	})
}

// writeDir writes a manifest and signatures to a directory in the dir: format.
func writeDir(dir string, raw []byte, signatures [][]byte) (types.ImageReference, error) {
	files := map[string][]byte{"version": []byte("Directory Transport Version: 1.1\n"), "manifest.json": raw}
	for n, sig := range signatures {
		files[fmt.Sprintf("signature-%d", n+1)] = sig
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, err
		}
	}
	return directory.NewReference(dir)
}

// Scope returns a reference for a path, by which policy.json may refer to it. The empty path stands for the whole
// transport. Scope opens nothing.
func Scope(transport, path string) types.ImageReference {
	return scope{transport: transport, path: path}
}

// scope has the methods that the library needs to find the applicable part of a policy.
type scope struct {
	types.ImageReference // nil: no other method is called
	transport, path      string
}

func (r scope) Transport() types.ImageTransport { return scopeTransport{name: r.transport} }

func (r scope) StringWithinTransport() string { return r.path }

func (r scope) DockerReference() reference.Named { return nil }

// PolicyConfigurationIdentity returns the path, except where the library defines none.
func (r scope) PolicyConfigurationIdentity() string {
	if r.transport == "docker-archive" {
		return ""
	}
	return r.path
}

// PolicyConfigurationNamespaces returns the directories above the path.
func (r scope) PolicyConfigurationNamespaces() []string {
	var above []string
	for path := r.PolicyConfigurationIdentity(); ; above = append(above, path) {
		n := strings.LastIndexByte(path, '/')
		if n <= 0 {
			return above
		}
		path = path[:n]
	}
}

type scopeTransport struct {
	types.ImageTransport // nil: no other method is called
	name                 string
}

func (t scopeTransport) Name() string { return t.name }
