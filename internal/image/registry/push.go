package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/internals"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/request"
	"osbuild-containers/internal/retry"
)

// Destination is a repository that images are pushed to unchanged: nothing is recompressed, no manifest is edited. It
// retries nothing. Its methods are safe for concurrent use, except that Close must come last.
type Destination struct {
	name  reference.Named
	sys   *types.SystemContext
	login *login // in sys
	dest  types.ImageDestination
	known *BlobLocations

	client *internals.Client // of dest
}

// OpenDestination connects to the registry. Destinations that share known mount blobs from each other.
func OpenDestination(ctx context.Context, repository string, a request.Access, known *BlobLocations) (*Destination, error) {
	named, err := reference.ParseNormalizedNamed(repository)
	if err != nil {
		return nil, fmt.Errorf("repository %q: %w", repository, err)
	}
	ref, err := docker.NewReferenceUnknownDigest(reference.TrimNamed(named)) // manifests are pushed by digest
	if err != nil {
		return nil, fmt.Errorf("repository %q: %w", repository, err)
	}
	d := &Destination{name: reference.TrimNamed(named), known: known}
	if d.sys, d.login, err = withLogin(systemContext(a), d.Name(), a.Login); err != nil {
		return nil, d.sending(err)
	}
	d.dest, d.client, err = d.open(ctx, ref)
	return d, d.sending(err)
}

func (d *Destination) open(ctx context.Context, ref types.ImageReference) (types.ImageDestination, *internals.Client, error) {
	dest, err := ref.NewImageDestination(ctx, d.sys)
	if err != nil {
		return nil, nil, err
	}
	c, err := internals.ClientOf(dest)
	if err != nil {
		return nil, nil, err
	}
	conf, err := c.TLS()
	if err != nil {
		return nil, nil, err
	}
	if err := connect(ctx, d.sys, c, d.login, reference.Domain(d.name), conf.InsecureSkipVerify, d.known.challengesOf(d.name)); err != nil {
		return nil, nil, err
	}
	return dest, c, nil
}

// Close closes the connections.
func (d *Destination) Close() error { return d.dest.Close() }

// Name returns the name of the repository.
func (d *Destination) Name() string { return d.name.Name() }

func blobInfo(b manifest.Descriptor) types.BlobInfo {
	return types.BlobInfo{Digest: b.Digest, Size: b.Size, MediaType: b.MediaType}
}

// Has reports whether the repository has the blob.
func (d *Destination) Has(ctx context.Context, b manifest.Descriptor) (bool, error) {
	return d.reuse(ctx, b, noCandidates{d.known.cache})
}

// Mount mounts the blob from another repository of the registry. It returns false if none is known to have the blob, or
// if the registry cannot mount.
func (d *Destination) Mount(ctx context.Context, b manifest.Descriptor) (bool, error) {
	internals.AnyCompression(d.known.cache, b.Digest)
	return d.reuse(ctx, b, d.known.cache)
}

func (d *Destination) reuse(ctx context.Context, b manifest.Descriptor, known types.BlobInfoCache) (bool, error) {
	there, info, err := d.dest.TryReusingBlob(ctx, blobInfo(b), known, false)
	if err == nil && there && (info.Digest != b.Digest || info.Size != b.Size) {
		err = fmt.Errorf("blob %s: the registry says that it has %d bytes, want %d: have it removed there", b.Digest, info.Size, b.Size)
	}
	return there, d.sending(err)
}

// Put sends the blob from r, which must verify it: an error at EOF prevents the registry from accepting the blob. If the
// registry already has the blob, nothing is read.
func (d *Destination) Put(ctx context.Context, b manifest.Descriptor, r io.Reader) error {
	_, err := d.dest.PutBlob(ctx, r, blobInfo(b), d.known.cache, false)
	if err != nil {
		err = fmt.Errorf("blob %s: %w", b.Digest, err)
	}
	return d.sending(err)
}

// PutManifest pushes a manifest or index, whose parts must have been pushed, under its digest and, unless empty, the tag.
func (d *Destination) PutManifest(ctx context.Context, raw []byte, tag string) (err error) {
	if tag == "" {
		return d.sending(d.dest.PutManifest(ctx, raw, nil))
	}
	ref, err := d.reference(tag, "")
	if err != nil {
		return err
	}
	dest, _, err := d.open(ctx, ref)
	if err != nil {
		return d.sending(err)
	}
	defer func() { err = errors.Join(err, dest.Close()) }()
	return d.sending(dest.PutManifest(ctx, raw, nil))
}

// reference returns the reference of a manifest by tag, or by digest if the tag is empty.
func (d *Destination) reference(tag string, sum digest.Digest) (types.ImageReference, error) {
	if tag == "" {
		named, err := reference.WithDigest(d.name, sum)
		if err != nil {
			return nil, err
		}
		return docker.NewReference(named)
	}
	named, err := reference.WithTag(d.name, tag)
	if err != nil {
		return nil, err
	}
	return docker.NewReference(named)
}

// HasManifest reports whether the registry has this manifest under the tag, or under its digest if the tag is empty. It
// also returns false if the registry does not tell.
func (d *Destination) HasManifest(ctx context.Context, sum digest.Digest, tag string) (bool, error) {
	ref, err := d.reference(tag, sum)
	if err != nil {
		return false, err
	}
	src, err := d.client.Source(ref, ref)
	if err != nil {
		return false, err
	}
	got, err := head(ctx, src)
	if err == nil {
		return got == sum, nil
	}
	if class, _ := Classify(err); class == retry.Transient {
		return false, d.sending(err)
	}
	return false, nil
}

// sendError is an error of writing to a registry.
type sendError struct {
	to  string
	err error
}

func (e *sendError) Error() string { return "send to " + e.to + ": " + e.err.Error() }
func (e *sendError) Unwrap() error { return e.err }

// sending rewords an error. A challenge of the repository is answered by the next Destination.
func (d *Destination) sending(err error) error {
	if err == nil {
		return nil
	}
	var challenge *challengeError
	if errors.As(err, &challenge) {
		d.known.learn(d.name, challenge.challenges)
	}
	return &sendError{d.name.Name(), reword(d.login.denied(err))}
}

// IsSend reports whether an error is one of writing to a registry.
func IsSend(err error) bool {
	var send *sendError
	return errors.As(err, &send)
}

// IsRefused reports whether a registry refused what was sent, for reasons other than credentials.
func IsRefused(err error) bool {
	code := statusOf(err)
	var rejected types.ManifestTypeRejectedError
	return errors.As(err, &rejected) || code >= 400 && code < 500 && classOf(code) == retry.Final
}
