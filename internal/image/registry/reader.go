package registry

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/internals"
	"osbuild-containers/internal/image/schema1"
	"osbuild-containers/internal/manifest"
)

// reader is a connection to one repository: a source of the library and its pinned digest.
type reader struct {
	src    types.ImageSource
	pinned digest.Digest
	login  *login            // to the registry
	client *internals.Client // of src

	worked    atomic.Bool // it has answered a request
	lookaside sync.Mutex  // held while signatures are read
}

// Manifest reads the manifest with digest d, or the pinned one if d is empty.
func (r *reader) Manifest(ctx context.Context, d digest.Digest) ([]byte, error) {
	want, instance := r.pinned, (*digest.Digest)(nil)
	if d != "" {
		want, instance = d, &d
	}
	raw, kind, err := r.src.GetManifest(ctx, instance)
	if err != nil {
		return nil, err
	}
	return checked(raw, kind, want)
}

// checked returns a document if it has the wanted digest, or any document if want is empty. For another digest, the error
// says if the document is not a manifest at all.
func checked(raw []byte, kind string, want digest.Digest) ([]byte, error) {
	var err error
	if want != "" {
		if err = checkManifest(raw, want); err == nil {
			return raw, nil
		}
	}
	if e := checkDocument(raw, kind); e != nil {
		return nil, e
	}
	return raw, err
}

// checkManifest checks the digest, which for schema 1 is that of the signed part.
func checkManifest(raw []byte, want digest.Digest) error {
	got, err := schema1.Digest(raw)
	if err == nil && got != want {
		err = manifest.Mismatch("manifest", got, want)
	}
	return err
}

func (r *reader) Close() error { return r.src.Close() }
