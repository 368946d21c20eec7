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

// A Transport is a way to read images. A new one is a directory next to this file and an entry in transports.
type Transport struct {
	// Unpacked: layers are kept unpacked, and come out uncompressed under a manifest made for them. The config
	// vouches for them with its diff IDs.
	Unpacked bool

	mark      func(error) error // marks errors as ones that another try does not get past; nil: Classify decides
	open      func(context.Context, Target) (Source, error)
	head      func(context.Context, Target) (d digest.Digest, from string, err error)
	identity  func(Target) (types.ImageReference, error) // what policy.json knows the target by
	locations func(Target) ([]string, error)             // repositories it is read from, mirrors first; nil: a single place
}

// transports are all transports, by the name that a request has for them.
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
			raw, err := src.Manifest(ctx)
			return digest.FromBytes(raw), src.Origin(), err
		},
		// Only the transport as a whole counts: its images have no name that the store vouches for.
		identity: func(Target) (types.ImageReference, error) { return policy.Scope(request.ContainersStorage, ""), nil },
	},
}

// TransportOf returns the transport with that name. An empty or unknown name is that of registries: requests are
// checked before.
func TransportOf(name string) Transport {
	if t, ok := transports[name]; ok {
		return t
	}
	return transports[request.Docker]
}

// IsTransport reports whether images can be read from a transport with that name.
func IsTransport(name string) bool {
	_, ok := transports[name]
	return ok
}

// Mark returns an error met while an image was read over the transport, for Classify: what a transport of this machine
// does not give is not worth another try, whatever the error looks like.
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

// Allowed checks policy.json for the target, under the name that it has, wherever its bytes come from. It asks for
// the evidence only where the policy depends on it, and uses no network.
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

// Refused returns the error of a policy.json that accepts nothing under the target's name, whatever signs
// it, or that cannot be read; else nil.
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
