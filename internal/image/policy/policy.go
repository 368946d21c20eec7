// Package policy evaluates policy.json, which is read once, from the library's default locations. Without a policy.json
// every image is accepted, since its pinned digest decides.
package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage/pkg/homedir"

	"osbuild-containers/internal/scratch"
)

// systemPolicy is the path that the library tries after the one in $HOME.
const systemPolicy = "/etc/containers/policy.json"

// load reads the policy once: all images of a process are subject to the same policy. Nil means that there is none. A
// file that exists but cannot be read is an error.
var load = sync.OnceValues(func() (*signature.Policy, error) {
	for _, path := range []string{filepath.Join(homedir.Get(), ".config/containers/policy.json"), systemPolicy} {
		_, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			var p *signature.Policy
			if p, err = signature.NewPolicyFromFile(path); err == nil {
				slog.Debug("policy", "file", path)
				return p, nil
			}
		}
		return nil, &fileError{err}
	}
	slog.Debug("no policy", "without", systemPolicy)
	return nil, nil
})

// AcceptsAll reports whether the policy accepts every image of every transport without signatures, so that no image has
// to be checked.
var AcceptsAll = sync.OnceValue(func() bool {
	p, err := load()
	if err != nil || p == nil {
		return err == nil
	}
	return acceptsAll(p)
})

func acceptsAll(p *signature.Policy) bool {
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
}

// Exists reports whether there is a policy.json.
func Exists() bool {
	p, err := load()
	return p != nil || err != nil
}

// Evidence returns the manifest of an image and its signatures, in the format of the dir: transport.
type Evidence func() (manifest []byte, signatures [][]byte, err error)

// Refused returns an error if policy.json refuses everything under this reference whatever its signatures, or cannot be
// read.
func Refused(ctx context.Context, ref types.ImageReference) error {
	err := Allowed(ctx, ref, func() ([]byte, [][]byte, error) { return nil, nil, errUnseen })
	if errors.Is(err, errUnseen) {
		return nil
	}
	return err
}

// errUnseen is returned when the decision depends on more than the image's name.
var errUnseen = errors.New("the policy depends on the image")

// unseen is an image of which only the reference is known.
type unseen struct{ ref types.ImageReference }

func (i unseen) Reference() types.ImageReference { return i.ref }

func (i unseen) Manifest(context.Context) ([]byte, string, error) { return nil, "", errUnseen }

func (i unseen) Signatures(context.Context) ([][]byte, error) { return nil, errUnseen }

// Allowed checks policy.json for a reference, first by the reference alone. It asks for the evidence only if the policy
// depends on it, and uses no network.
func Allowed(ctx context.Context, ref types.ImageReference, evidence Evidence) error {
	p, err := load()
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
	return withImage(ctx, ref, raw, signatures, func(img types.UnparsedImage) error { return judge(ctx, p, img) })
}

func judge(ctx context.Context, p *signature.Policy, img types.UnparsedImage) error {
	pc, err := signature.NewPolicyContext(p) // not safe for concurrent use
	if err != nil {
		return &fileError{err}
	}
	defer func() { _ = pc.Destroy() }()
	if ok, err := pc.IsRunningImageAllowed(ctx, img); !ok {
		return &refusedError{err}
	}
	return nil
}

// withImage calls do with an image that has this manifest and these signatures. The library reads sigstore signatures
// only from its own sources, so they are written to a directory in dir: format.
func withImage(ctx context.Context, ref types.ImageReference, raw []byte, signatures [][]byte, do func(types.UnparsedImage) error) (err error) {
	dir, err := scratch.Dir()
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
