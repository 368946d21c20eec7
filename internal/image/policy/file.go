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

// A File is an image in a file or a directory, which has no name that a registry vouches for.
type File struct {
	Transport  string   // what policy.json calls its format: dir, oci, oci-archive or docker-archive
	Path       string   // of the file or directory
	Manifest   []byte   // its bytes
	Signatures [][]byte // in the format of the dir: transport
}

// Allowed checks policy.json for the image, as skopeo does: by the format of what it is in and by
// its path, since there is no registry that vouches for a name.
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

// Scope returns the reference of what is at a path, to which policy.json may refer by the transport and the path. The
// empty path stands for all of the transport. It opens nothing.
func Scope(transport, path string) types.ImageReference {
	return scope{transport: transport, path: path}
}

// scope is what the library asks of a reference to find its part of a policy. It opens nothing.
type scope struct {
	types.ImageReference // nil: no other method is called
	transport, path      string
}

func (r scope) Transport() types.ImageTransport { return scopeTransport{name: r.transport} }

func (r scope) StringWithinTransport() string { return r.path }

func (r scope) DockerReference() reference.Named { return nil }

// PolicyConfigurationIdentity is the path, but where the library has none.
func (r scope) PolicyConfigurationIdentity() string {
	if r.transport == "docker-archive" {
		return ""
	}
	return r.path
}

// PolicyConfigurationNamespaces are the directories above it.
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
