package image

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/containers/image/v5/image"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
)

// maxSignatures is how many signatures an image may have. The library has the same limit for those
// of a lookaside.
const maxSignatures = 127

// Signatures implements Source. All of them are in memory, so together they may be as long as a manifest.
func (r *reader) Signatures(ctx context.Context, d digest.Digest) ([][]byte, error) {
	instance := &d
	if d == "" {
		instance = nil
	}
	sigs, err := image.UnparsedInstance(r.src, instance).UntrustedSignatures(limited(ctx))
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
