package image

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage/pkg/homedir"
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
