package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage/pkg/homedir"

	"osbuild-containers/internal/request"
)

// systemPolicy is where the library looks for a policy after the one in $HOME.
const systemPolicy = "/etc/containers/policy.json"

// policy is read once: all images of a process obey one policy. Nil: there is none. A file that cannot be
// looked at is an error: only one that does not exist is passed over.
var policy = sync.OnceValues(func() (*signature.Policy, error) {
	for _, path := range []string{filepath.Join(homedir.Get(), ".config/containers/policy.json"), systemPolicy} {
		_, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			var p *signature.Policy
			if p, err = signature.NewPolicyFromFile(path); err == nil {
				return p, nil
			}
		}
		return nil, &policyFileError{err}
	}
	return nil, nil
})

// acceptsAll reports whether the policy accepts every image of every transport, whatever signs it: then no
// image need be looked at for it.
var acceptsAll = sync.OnceValue(func() bool {
	p, err := policy()
	if err != nil || p == nil {
		return err == nil
	}
	all := []signature.PolicyRequirements{p.Default}
	for _, scopes := range p.Transports {
		for _, reqs := range scopes {
			all = append(all, reqs)
		}
	}
	return !slices.ContainsFunc(all, func(reqs signature.PolicyRequirements) bool {
		raw, err := json.Marshal(reqs)
		return err != nil || string(raw) != `[{"type":"insecureAcceptAnything"}]`
	})
})

// HavePolicy reports whether there is a policy.json. Without one the pinned digest is the authority.
func HavePolicy() bool {
	p, err := policy()
	return p != nil || err != nil
}

// Evidence returns the manifest of an image and its signatures, in the format of the dir: transport.
type Evidence func() (manifest []byte, signatures [][]byte, err error)

// Allowed checks policy.json for the target, under the name that it has, whatever the place is that
// its bytes come from. It asks for the evidence only where the policy depends on it, and uses no network.
func (t Target) Allowed(ctx context.Context, evidence Evidence) error {
	if acceptsAll() {
		return nil
	}
	ref, err := t.identity()
	if err != nil {
		return err
	}
	return reword(allowed(ctx, ref, evidence))
}

// Refused returns the error of a policy.json that accepts nothing under the target's name, whatever signs
// it, or that cannot be read; else nil.
func (t Target) Refused(ctx context.Context) error {
	err := t.Allowed(ctx, func() ([]byte, [][]byte, error) { return nil, nil, errUnseen })
	if errors.Is(err, errUnseen) {
		return nil
	}
	return err
}

// identity is the reference that policy.json knows the target by. Of a containers storage only the
// transport as a whole counts: its images have no name that the store vouches for.
func (t Target) identity() (types.ImageReference, error) {
	if t.Transport == request.ContainersStorage {
		return scope{transport: request.ContainersStorage}, nil
	}
	named, err := t.named()
	if err == nil {
		named, err = exact(named, t.Pinned)
	}
	if err != nil {
		return nil, fmt.Errorf("image name %q: %w", t.Name, err)
	}
	return docker.NewReference(named)
}

// named parses the name of the target. A request has many items and few names, and parsing one takes longer than all
// else that a policy needs.
func (t Target) named() (reference.Named, error) {
	type key struct {
		name   string
		access request.Access
	}
	if named, ok := parsedNames.Load(key{t.Name, t.Access}); ok {
		return named.(reference.Named), nil
	}
	named, err := reference.ParseNormalizedNamed(t.Name)
	if err != nil {
		return nil, err
	}
	named = usualPort(systemContext(t.Access), named)
	parsedNames.Store(key{t.Name, t.Access}, named)
	return named, nil
}

var parsedNames sync.Map

// errUnseen is that a policy depends on more than the name of an image.
var errUnseen = errors.New("the policy depends on the image")

// unseen is an image of which nothing but its reference is known.
type unseen struct{ ref types.ImageReference }

func (i unseen) Reference() types.ImageReference { return i.ref }

func (i unseen) Manifest(context.Context) ([]byte, string, error) { return nil, "", errUnseen }

func (i unseen) Signatures(context.Context) ([][]byte, error) { return nil, errUnseen }

// allowed checks policy.json for what a reference names, first by the reference alone.
func allowed(ctx context.Context, ref types.ImageReference, evidence Evidence) error {
	p, err := policy()
	if p == nil {
		return err
	}
	err = judge(ctx, p, unseen{ref})
	if !errors.Is(err, errUnseen) {
		return err
	}
	raw, signatures, err := evidence()
	if err != nil {
		return err
	}
	return underStudy(ctx, ref, raw, signatures, func(img types.UnparsedImage) error { return judge(ctx, p, img) })
}

func judge(ctx context.Context, p *signature.Policy, img types.UnparsedImage) error {
	pc, err := signature.NewPolicyContext(p) // not safe for use by several at once: one each
	if err != nil {
		return &policyFileError{err}
	}
	defer func() { _ = pc.Destroy() }()
	if ok, err := pc.IsRunningImageAllowed(ctx, img); !ok {
		return &policyError{err}
	}
	return nil
}

// underStudy calls do with an image of this manifest and these signatures. The library takes signatures of
// sigstore only from a source of its own, so they are written to a directory in its format.
func underStudy(ctx context.Context, ref types.ImageReference, raw []byte, signatures [][]byte, do func(types.UnparsedImage) error) (err error) {
	dir, err := Scratch()
	if err != nil {
		return fmt.Errorf("check signatures: %w", err)
	}
	defer os.RemoveAll(dir)
	written, err := writeDir(dir, raw, signatures)
	if err != nil {
		return fmt.Errorf("check signatures: %w", err)
	}
	src, err := written.NewImageSource(ctx, &types.SystemContext{})
	if err != nil {
		return fmt.Errorf("check signatures: %w", err)
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	return do(image.UnparsedInstanceWithReference(image.UnparsedInstance(src, nil), ref))
}
