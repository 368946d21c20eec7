// Package image reads images and indexes (manifest lists) from registries and containers storages, pinned by digest.
// Only the directories below it import containers/image and containers/storage.
//
// It honours the configuration of containers tools (registries.conf, registries.d, certs.d, auth.json and credential
// helpers, policy.json, storage.conf). Manifests have the requested digest; blobs are not verified, that is the caller's
// job. It retries nothing; Classify says which errors are worth another try.
// Package registry is the client of registries and their mirrors, storage reads and writes containers storages, policy
// evaluates policy.json, and internals depends on unexported parts of the libraries.
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

// RouteLogs sends the libraries' warnings and errors to note, one line each.
func RouteLogs(note func(format string, args ...any)) { library.RouteLogs(note) }

// Target is one image, or one index, to read.
type Target struct {
	request.Image
	Pinned digest.Digest // digest of the manifest or index; empty: what the name's tag points to
	ID     digest.Digest // image id, the digest of the config; empty for an index, or a tag

	Mirrors *registry.Mirrors // nil: each Open starts at the first location and does not log failed ones
}

// String names the target in messages: name@digest, or the name if it is not pinned.
func (t Target) String() string {
	if t.Pinned == "" {
		return t.Name
	}
	return t.Name + "@" + t.Pinned.String()
}

// Source is an open image. Its methods are safe for concurrent use, except that Close must come last.
type Source interface {
	// Origin returns the repository read from, which may be a mirror's, or the graph root.
	Origin() string
	// Manifest returns the manifest with digest d, named by an index. If d is empty, it returns the pinned manifest,
	// or the one the tag pointed to at Open.
	Manifest(ctx context.Context, d digest.Digest) ([]byte, error)
	// Blob opens a blob at offset, in bytes. start is the offset at which the reader starts: 0 if the other side
	// cannot resume.
	Blob(ctx context.Context, d manifest.Descriptor, offset int64) (r io.ReadCloser, start int64, err error)
	// Signatures returns the signatures of the manifest with digest d, or of the pinned one if d is empty, in the
	// format of the dir: transport. They sign that manifest, which may differ from the published one.
	Signatures(ctx context.Context, d digest.Digest) ([][]byte, error)
	io.Closer
}

// Publishable returns the manifest to publish for raw. It is raw itself, unless the transport stores layers unpacked:
// then it names the uncompressed layers.
func Publishable(ctx context.Context, src Source, raw []byte) ([]byte, error) {
	if s, ok := src.(interface {
		Publishable(ctx context.Context, raw []byte) ([]byte, error)
	}); ok {
		return s.Publishable(ctx, raw)
	}
	return raw, nil
}

// Elsewhere reports whether the source has another location for this part, which is then tried next. It is called when
// a blob does not match or signatures do not suffice.
func Elsewhere(src Source, part registry.Part, d digest.Digest) bool {
	s, ok := src.(interface {
		Elsewhere(part registry.Part, d digest.Digest) bool
	})
	return ok && s.Elsewhere(part, d)
}

// Open opens the target. For a registry, it reads the manifest from the first location that has it.
func Open(ctx context.Context, t Target) (Source, error) {
	return TransportOf(t.Transport).open(ctx, t)
}

// Locations returns the repositories that the target is read from, in order, mirrors first. It is empty for transports
// with a single place.
func Locations(t Target) ([]string, error) {
	if locations := TransportOf(t.Transport).locations; locations != nil {
		return locations(t)
	}
	return nil, nil
}

// Head returns the digest under which the target is served and the first location that has it. It trusts the registry's
// header and reads nothing, so registries that limit downloads do not count it.
func Head(ctx context.Context, t Target) (d digest.Digest, from string, err error) {
	return TransportOf(t.Transport).head(ctx, t)
}
