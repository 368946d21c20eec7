package image

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage/pkg/homedir"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
)

// systemPolicy is where the library looks for a policy after the one in $HOME.
const systemPolicy = "/etc/containers/policy.json"

// policy is read once: all images of a process obey one policy. Nil: there is none.
var policy = sync.OnceValues(func() (*signature.Policy, error) {
	for _, path := range []string{filepath.Join(homedir.Get(), ".config/containers/policy.json"), systemPolicy} {
		if _, err := os.Lstat(path); err == nil {
			return signature.NewPolicyFromFile(path)
		}
	}
	return nil, nil
})

// HavePolicy says whether there is a policy.json. Without one the pinned digest is the authority.
func HavePolicy() bool {
	p, err := policy()
	return p != nil || err != nil
}

func allowed(ctx context.Context, img types.UnparsedImage) error {
	p, err := policy()
	if err != nil {
		return fmt.Errorf("read signature policy: %w", err)
	}
	if p == nil {
		return nil
	}
	pc, err := signature.NewPolicyContext(p) // not safe for use by several at once: one each
	if err != nil {
		return fmt.Errorf("read signature policy: %w", err)
	}
	defer func() { _ = pc.Destroy() }()
	if ok, err := pc.IsRunningImageAllowed(ctx, img); !ok {
		return &policyError{err}
	}
	return nil
}

// unparsed is the instance, or what is pinned if d is empty, as the library checks it: for one at a
// time.
func (r *reader) unparsed(d digest.Digest) *image.UnparsedImage {
	if img := r.signed[d]; img != nil {
		return img
	}
	instance := &d
	if d == "" {
		instance = nil
	}
	if r.signed == nil {
		r.signed = make(map[digest.Digest]*image.UnparsedImage)
	}
	r.signed[d] = image.UnparsedInstance(r.src, instance)
	return r.signed[d]
}

// Allowed implements Source.
func (r *reader) Allowed(ctx context.Context, d digest.Digest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return allowed(limited(ctx), r.unparsed(d))
}

// maxSignatures is how many signatures an image may have. The library has the same limit for those
// of a lookaside.
const maxSignatures = 127

// Signatures implements Source. Those that the policy had to see are not read again. All of them
// are in memory, so together they may be as long as a manifest.
func (r *reader) Signatures(ctx context.Context, d digest.Digest) ([][]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sigs, err := r.unparsed(d).UntrustedSignatures(limited(ctx))
	if err != nil {
		return nil, fmt.Errorf("read signatures: %w", err)
	}
	if len(sigs) > maxSignatures {
		return nil, fmt.Errorf("read signatures: there are more than %d", maxSignatures)
	}
	blobs, total := make([][]byte, 0, len(sigs)), 0
	for _, s := range sigs {
		blob, err := signatureBlob(s)
		if err != nil {
			return nil, err
		}
		if total += len(blob); total > manifest.MaxSize {
			return nil, fmt.Errorf("read signatures: they are longer than %d bytes together", manifest.MaxSize)
		}
		blobs = append(blobs, blob)
	}
	return blobs, nil
}

// signatureBlob is the content of a dir: transport's signature-N. The library's own function for
// that is internal, the accessors are not.
func signatureBlob(sig any) ([]byte, error) {
	switch s := sig.(type) {
	case interface{ UntrustedSignature() []byte }: // simple signing: as it is
		return s.UntrustedSignature(), nil
	case interface {
		UntrustedMIMEType() string
		UntrustedPayload() []byte
		UntrustedAnnotations() map[string]string
	}:
		chunk, err := json.Marshal(struct {
			MIMEType    string            `json:"mimeType"`
			Payload     []byte            `json:"payload"`
			Annotations map[string]string `json:"annotations"`
		}{s.UntrustedMIMEType(), s.UntrustedPayload(), s.UntrustedAnnotations()})
		return append([]byte("\x00sigstore-json\n"), chunk...), err
	}
	return nil, fmt.Errorf("signature of unknown kind %T", sig)
}
