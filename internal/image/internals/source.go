package internals

import (
	"context"
	"net/url"
	"os"
	"reflect"
	"sync"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/types"
)

// NewSource returns a source of an image in a registry without sending a request, and its client, which must be
// connected before the source is used. Policies apply to logical, the requested image; physical is the place to read it
// from, which may be a mirror.
//
// The library's NewImageSource reads the manifest, with its own client. A destination has the same client and sends
// nothing before it is used. It is assumed that a source is a struct of the type of a field of the exported docker.Image,
// and needs only these fields:
//
//	docker.Image.src                  *dockerImageSource
//	docker.dockerImageSource.logicalRef, physicalRef, c
//	docker.dockerClient.scope.actions, signatureBase: what differs between reading and writing
func NewSource(ctx context.Context, sys *types.SystemContext, logical, physical types.ImageReference) (types.ImageSource, *Client, error) {
	dest, err := physical.NewImageDestination(ctx, sys)
	if err != nil {
		return nil, nil, err
	}
	client, err := ClientOf(dest)
	if err != nil {
		return nil, nil, err
	}
	if err := client.read(sys, physical); err != nil {
		return nil, nil, err
	}
	src, err := client.Source(logical, physical)
	return src, client, err
}

// Source returns a source that uses the client.
func (c *Client) Source(logical, physical types.ImageReference) (types.ImageSource, error) {
	f, ok := reflect.TypeFor[docker.Image]().FieldByName("src")
	if !ok || f.Type.Kind() != reflect.Pointer || f.Type.Elem().Kind() != reflect.Struct {
		return nil, &shapeError{"docker.Image has no source"}
	}
	v := reflect.New(f.Type.Elem())
	for name, to := range map[string]reflect.Value{
		"logicalRef": reflect.ValueOf(logical), "physicalRef": reflect.ValueOf(physical), "c": c.v.Addr(),
	} {
		if err := set(v.Elem(), name, to); err != nil {
			return nil, err
		}
	}
	src, ok := v.Interface().(types.ImageSource)
	if !ok {
		return nil, &shapeError{f.Type.String() + " is not a source"}
	}
	return src, nil
}

// read turns a client for writing into one for reading: it requests read access only, and reads signatures from the
// lookaside for reading.
func (c *Client) read(sys *types.SystemContext, ref types.ImageReference) error {
	scope, err := field(c.v, "scope", reflect.Struct)
	if err != nil {
		return err
	}
	if err := set(scope, "actions", reflect.ValueOf("pull")); err != nil {
		return err
	}
	base, err := lookaside(sys, ref)
	if err != nil {
		return err
	}
	return set(c.v, "signatureBase", reflect.ValueOf(base))
}

// NoLookaside makes a source that uses the client read no signatures from lookasides, only those in the registry.
func (c *Client) NoLookaside() error {
	return set(c.v, "signatureBase", reflect.ValueOf(&url.URL{Scheme: "file", Path: os.DevNull + ".none"}))
}

// lookasides caches the results of lookaside: the library opens the directory registries.d each time and leaves closing
// it to the garbage collector, so many images would need many file descriptors.
var lookasides sync.Map

// lookaside returns the URL in registries.d from which signatures of the image's repository are read.
func lookaside(sys *types.SystemContext, ref types.ImageReference) (*url.URL, error) {
	key := sys.RegistriesDirPath + " " + ref.DockerReference().Name()
	if known, ok := lookasides.Load(key); ok {
		return known.(*url.URL), nil
	}
	base, err := docker.SignatureStorageBaseURL(sys, ref, false)
	if err == nil {
		lookasides.Store(key, base)
	}
	return base, err
}
