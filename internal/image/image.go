// Package image reads pinned images out of registries and of containers storage. It is the
// only package that imports containers/image and containers/storage: when the libraries
// move, this is the place that changes.
//
// It promises the configuration of every containers tool (registries.conf, registries.d,
// certs.d, auth.json and credential helpers, policy.json, storage.conf), and that manifests
// it returns have the digest asked for. Blobs are handed on as they arrive: whoever keeps
// them verifies them. It retries nothing; Classify says what another try could mend.
//
// All requests of the library go through transports of this package, from the first one on; how that is done without
// the library's help is in the package internals.
package image

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	imgmanifest "github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage/pkg/reexec"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/internals"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/request"
)

// Reexec must be called first in main: containers/storage starts its own executable again for
// some work. True means that this was such a start and all is done.
func Reexec() bool { return reexec.Init() }

// Target is one image, or one manifest list, to read.
type Target struct {
	request.Image
	Pinned digest.Digest // digest of the manifest or manifest list; empty: whatever the name's tag points to
	ID     digest.Digest // image id; empty when a manifest list is wanted, or a tag

	Mirrors *Mirrors // nil: each Open begins with the first location, and nothing is said of those that are passed over
}

// String names the target in messages, as name@digest, or as the name where a tag is wanted.
func (t Target) String() string {
	if t.Pinned == "" {
		return t.Name
	}
	return t.Name + "@" + t.Pinned.String()
}

// Source is an open image. Its methods may be called at the same time; Close comes last.
type Source interface {
	// Origin is the repository that is read from, a mirror's where that is so, or the graph root.
	Origin() string
	// Manifest returns the bytes with the pinned digest, or those the tag pointed to when it was opened.
	Manifest(ctx context.Context) ([]byte, error)
	// Instance returns the manifest with digest d, which a manifest list names.
	Instance(ctx context.Context, d digest.Digest) ([]byte, error)
	// Publishable returns the manifest to publish for raw. It is raw itself but for containers
	// storage, which keeps layers uncompressed and so needs a manifest that names them so.
	Publishable(ctx context.Context, raw []byte) ([]byte, error)
	// Blob opens a blob from the offset (bytes) on. start is the offset at which the reader really
	// starts: 0 where the other side cannot continue in the middle.
	Blob(ctx context.Context, d manifest.Descriptor, offset int64) (r io.ReadCloser, start int64, err error)
	// Signatures returns the signatures of the instance, or of what is pinned if d is empty, in the
	// format of the dir: transport. They sign that manifest, which is not always the one to publish.
	Signatures(ctx context.Context, d digest.Digest) ([][]byte, error)
	// Elsewhere is called when a blob that was read is another one, or when the signatures do not suffice. It reports
	// whether there is another location to ask, which is then asked next.
	Elsewhere(part Part, d digest.Digest) bool
	io.Closer
}

// Open opens the target. For a registry that fetches the manifest, from the first mirror that has it.
func Open(ctx context.Context, t Target) (Source, error) {
	if t.Transport == request.ContainersStorage {
		src, err := openStored(ctx, t)
		if err != nil {
			return nil, Local(reword(err))
		}
		return wording{src}, nil
	}
	src, err := openDocker(ctx, t)
	if err != nil {
		return nil, reword(err)
	}
	return wording{src}, nil
}

// reader is what both transports share: a source of the library, and the digest it is pinned to.
type reader struct {
	src    types.ImageSource
	pinned digest.Digest
	login  *login            // to the registry; nil for a storage
	client *internals.Client // of src; nil for a storage

	worked    atomic.Bool // it has answered a question
	lookaside sync.Mutex  // held while signatures are read
}

func (r *reader) Manifest(ctx context.Context) ([]byte, error) {
	raw, kind, err := r.src.GetManifest(ctx, nil)
	if err != nil {
		return nil, err
	}
	return checked(raw, kind, r.pinned)
}

func (r *reader) Instance(ctx context.Context, d digest.Digest) ([]byte, error) {
	raw, kind, err := r.src.GetManifest(ctx, &d)
	if err != nil {
		return nil, err
	}
	return checked(raw, kind, d)
}

// checked returns a document that has the digest that is wanted; the empty one is any. What has another digest may
// not be a manifest at all, which says more.
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

// checkManifest checks the digest. That of schema 1 is of the part that was signed: an image of
// that format is refused for what it is, not for a digest that is right.
func checkManifest(raw []byte, want digest.Digest) error {
	got := digest.FromBytes(raw)
	if got == want {
		return nil
	}
	if _, err := manifest.Parse(raw); errors.Is(err, manifest.ErrSchema1) {
		if pinned, e := imgmanifest.MatchesDigest(raw, want); e == nil && pinned {
			return err
		}
	}
	return &MismatchError{What: "manifest", Got: got, Want: want}
}

func (r *reader) Close() error { return r.src.Close() }
