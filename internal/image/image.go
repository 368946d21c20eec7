// Package image reads images and indexes (manifest lists) out of registries and containers storages, pinned by
// digest. The directories below it are the only ones that import containers/image and containers/storage: when the
// libraries move, this is where the code changes.
//
// It guarantees that the configuration of every containers tool is used (registries.conf, registries.d, certs.d,
// auth.json and credential helpers, policy.json, storage.conf), and that the manifests it returns have the digest
// requested. Blobs are returned as they arrive: the caller verifies them. It retries nothing; Classify tells which
// errors another try may get past.
//
// Package registry is the client of registries with their mirrors, storage reads and writes containers storages,
// policy decides by policy.json, and internals has all that relies on parts of the libraries that are not exported.
package image

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/library"
	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/image/storage"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/request"
)

// Reexec must be called first in main, see [storage.Reexec].
func Reexec() bool { return storage.Reexec() }

// RouteLogs sends what the libraries log, warnings and worse, to note, a line each.
func RouteLogs(note func(format string, args ...any)) { library.RouteLogs(note) }

// Target is one image, or one index, to read.
type Target struct {
	request.Image
	Pinned digest.Digest // digest of the manifest or index; empty: whatever the name's tag points to
	ID     digest.Digest // image id, the digest of the config; empty for an index, or a tag

	Mirrors *registry.Mirrors // nil: each Open begins with the first location, and locations passed over are not logged
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
	// Origin is the repository that is read from, a mirror's if it was read there, or the graph root.
	Origin() string
	// Manifest returns the bytes with the pinned digest, or those the tag pointed to when it was opened.
	Manifest(ctx context.Context) ([]byte, error)
	// Instance returns the manifest with digest d, which an index names.
	Instance(ctx context.Context, d digest.Digest) ([]byte, error)
	// Publishable returns the manifest to publish for raw. It is raw itself unless the transport keeps
	// layers unpacked, and so needs a manifest that names them uncompressed.
	Publishable(ctx context.Context, raw []byte) ([]byte, error)
	// Blob opens a blob from the offset (bytes) on. start is the offset at which the reader really
	// starts: 0 where the other side cannot resume in the middle.
	Blob(ctx context.Context, d manifest.Descriptor, offset int64) (r io.ReadCloser, start int64, err error)
	// Signatures returns the signatures of the instance, or of what is pinned if d is empty, in the
	// format of the dir: transport. They sign that manifest, which is not always the one to publish.
	Signatures(ctx context.Context, d digest.Digest) ([][]byte, error)
	io.Closer
}

// Elsewhere is called when a blob that was read does not match, or when the signatures do not suffice. It reports
// whether the source has another location to ask, which is then asked next.
func Elsewhere(src Source, part registry.Part, d digest.Digest) bool {
	s, ok := src.(interface {
		Elsewhere(part registry.Part, d digest.Digest) bool
	})
	return ok && s.Elsewhere(part, d)
}

// Open opens the target. For a registry that fetches the manifest, from the first mirror that has it.
func Open(ctx context.Context, t Target) (Source, error) {
	return TransportOf(t.Transport).open(ctx, t)
}

// Locations returns the repositories that the target is read from, in the order they are tried, mirrors first. It is
// empty for transports with a single place.
func Locations(t Target) ([]string, error) {
	if locations := TransportOf(t.Transport).locations; locations != nil {
		return locations(t)
	}
	return nil, nil
}

// Head returns the digest under which the target is served, the pinned one or the one its tag points to,
// and from where: the first of its locations that has it. The digest is what the registry says;
// nothing is read, and registries that count downloads do not count it.
func Head(ctx context.Context, t Target) (d digest.Digest, from string, err error) {
	return TransportOf(t.Transport).head(ctx, t)
}
