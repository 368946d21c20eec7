package library

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
)

// Signatures reads the signatures of the instance, or of the pinned manifest if d is empty, each in the format of a
// signature-N file of the dir: transport.
func Signatures(ctx context.Context, src types.ImageSource, d digest.Digest) ([][]byte, error) {
	instance := &d
	if d == "" {
		instance = nil
	}
	sigs, err := image.UnparsedInstance(src, instance).UntrustedSignatures(ctx)
	if err != nil {
		return nil, fmt.Errorf("read signatures: %w", err)
	}
	var total int64
	blobs := make([][]byte, 0, len(sigs))
	for _, s := range sigs {
		blob, err := signatureBlob(s)
		if err != nil {
			return nil, err
		}
		total += int64(len(blob))
		if err := manifest.CheckSignatures(len(sigs), total); err != nil {
			return nil, fmt.Errorf("read signatures: %w", err)
		}
		blobs = append(blobs, blob)
	}
	return blobs, nil
}

// signatureBlob returns the content of a signature-N file of the dir: transport. The library's own function is internal,
// but the accessors are not.
func signatureBlob(sig any) ([]byte, error) {
	switch s := sig.(type) {
	case interface{ UntrustedSignature() []byte }: // simple signing: unchanged
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
