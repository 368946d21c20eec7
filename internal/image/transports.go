package image

import (
	"context"
	"errors"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/policy"
	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/image/storage"
	"osbuild-containers/internal/request"
)

// A Transport is a way to read images. To add one, add a directory next to this file and an entry in transports.
type Transport struct {
	// Unpacked means that layers are stored unpacked. They are read uncompressed, with a manifest made for them, and
	// the diff IDs in the config verify them.
	Unpacked bool

	mark      func(error) error // marks errors as final; nil: Classify decides
	open      func(context.Context, Target) (Source, error)
	head      func(context.Context, Target) (d digest.Digest, from string, err error)
	identity  func(Target) (types.ImageReference, error) // reference of the target in policy.json
	locations func(Target) ([]string, error)             // repositories to read from, mirrors first; nil: a single place
}

// transports maps the names in requests to transports.
var transports = map[string]Transport{
	request.Docker: {
		open: func(ctx context.Context, t Target) (Source, error) { return registry.Open(ctx, t.inRegistry()) },
		head: func(ctx context.Context, t Target) (digest.Digest, string, error) {
			return registry.Head(ctx, t.inRegistry())
		},
		identity:  func(t Target) (types.ImageReference, error) { return registry.Reference(t.inRegistry()) },
		locations: func(t Target) ([]string, error) { return registry.Locations(t.inRegistry()) },
	},
	request.ContainersStorage: {
		Unpacked: true,
		mark:     storage.Mark,
		open:     openStored,
		head: func(ctx context.Context, t Target) (d digest.Digest, from string, err error) {
			src, err := openStored(ctx, t)
			if err != nil {
				return "", "", err
			}
			defer func() { err = errors.Join(err, src.Close()) }()
			raw, err := src.Manifest(ctx, "")
			return digest.FromBytes(raw), src.Origin(), err
		},
		// Only a scope of the whole transport applies: the store vouches for no image name.
		identity: func(Target) (types.ImageReference, error) { return policy.Scope(request.ContainersStorage, ""), nil },
	},
}

// TransportOf returns the named transport. An empty or unknown name means a registry: requests were validated before.
func TransportOf(name string) Transport {
	if t, ok := transports[name]; ok {
		return t
	}
	return transports[request.Docker]
}

// IsTransport reports whether there is a transport with that name.
func IsTransport(name string) bool {
	_, ok := transports[name]
	return ok
}

// Mark marks an error of reading over the transport, for Classify: errors of a local transport are final, whatever they
// look like.
func (t Transport) Mark(err error) error {
	if t.mark == nil || err == nil {
		return err
	}
	return t.mark(err)
}

func (t Target) inRegistry() registry.Image {
	return registry.Image{Name: t.Name, Access: t.Access, Pinned: t.Pinned, Mirrors: t.Mirrors}
}

func openStored(ctx context.Context, t Target) (Source, error) {
	return storage.Open(ctx, t.StorageLocation, storage.Wanted{Name: t.Name, ID: t.ID, Pinned: t.Pinned})
}

// Allowed checks policy.json for the target under its own name, wherever its bytes come from. It asks for the evidence
// only if the policy depends on it, and uses no network.
func (t Target) Allowed(ctx context.Context, evidence policy.Evidence) error {
	if policy.AcceptsAll() {
		return nil
	}
	ref, err := TransportOf(t.Transport).identity(t)
	if err != nil {
		return err
	}
	return policy.Allowed(ctx, ref, evidence)
}

// Refused returns an error if policy.json refuses the target's name whatever its signatures, or cannot be read.
func (t Target) Refused(ctx context.Context) error {
	if policy.AcceptsAll() {
		return nil
	}
	ref, err := TransportOf(t.Transport).identity(t)
	if err != nil {
		return err
	}
	return policy.Refused(ctx, ref)
}
