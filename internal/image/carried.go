package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/types"
)

// Carried is an image that lies in a file or a folder.
type Carried struct {
	Transport  string   // what policy.json calls its format: dir, oci, oci-archive or docker-archive
	Path       string   // of the file or folder
	Manifest   []byte   // its bytes
	Signatures [][]byte // in the format of the dir: transport
}

// Allowed checks policy.json for the image, as skopeo does: by the format of what it lies in and by
// its path, since there is no registry that vouches for a name.
func (c Carried) Allowed(ctx context.Context) (err error) {
	if !HavePolicy() {
		return nil
	}
	path, err := filepath.Abs(c.Path)
	if err != nil {
		return err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return err
	}
	img := carriedImage{c, carriedReference{transport: c.Transport, path: path}}
	if len(c.Signatures) == 0 {
		return allowed(ctx, img)
	}
	// The library takes signatures of sigstore only from a source of its own.
	dir, err := Scratch()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ref, err := c.write(dir)
	if err != nil {
		return fmt.Errorf("check signatures: %w", err)
	}
	src, err := ref.NewImageSource(ctx, &types.SystemContext{})
	if err != nil {
		return fmt.Errorf("check signatures: %w", err)
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	return allowed(ctx, signedImage{image.UnparsedInstance(src, nil), img.ref})
}

// write puts manifest and signatures into a folder of the dir: format.
func (c Carried) write(dir string) (types.ImageReference, error) {
	files := map[string][]byte{"version": []byte("Directory Transport Version: 1.1\n"), "manifest.json": c.Manifest}
	for n, sig := range c.Signatures {
		files[fmt.Sprintf("signature-%d", n+1)] = sig
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, err
		}
	}
	return directory.NewReference(dir)
}

// carriedImage is what the library checks of an image without signatures.
type carriedImage struct {
	Carried
	ref carriedReference
}

func (i carriedImage) Reference() types.ImageReference { return i.ref }

func (i carriedImage) Manifest(context.Context) ([]byte, string, error) {
	return i.Carried.Manifest, "", nil
}

func (i carriedImage) Signatures(context.Context) ([][]byte, error) { return nil, nil }

// signedImage is one with signatures, under the reference of what it really lies in.
type signedImage struct {
	*image.UnparsedImage
	ref carriedReference
}

func (i signedImage) Reference() types.ImageReference { return i.ref }

// carriedReference is what the library asks of a reference to find its part of a policy. It opens
// nothing.
type carriedReference struct {
	types.ImageReference // nil: the rest is not asked for
	transport, path      string
}

func (r carriedReference) Transport() types.ImageTransport {
	return carriedTransport{name: r.transport}
}

func (r carriedReference) StringWithinTransport() string { return r.path }

func (r carriedReference) DockerReference() reference.Named { return nil }

// PolicyConfigurationIdentity is the path, but where the library has none.
func (r carriedReference) PolicyConfigurationIdentity() string {
	if r.transport == "docker-archive" {
		return ""
	}
	return r.path
}

// PolicyConfigurationNamespaces are the folders above it.
func (r carriedReference) PolicyConfigurationNamespaces() []string {
	var above []string
	for path := r.PolicyConfigurationIdentity(); ; above = append(above, path) {
		n := strings.LastIndexByte(path, '/')
		if n <= 0 {
			return above
		}
		path = path[:n]
	}
}

type carriedTransport struct {
	types.ImageTransport // nil: the rest is not asked for
	name                 string
}

func (t carriedTransport) Name() string { return t.name }
