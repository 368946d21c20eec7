package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/containers/image/v5/image"
	"github.com/containers/storage/pkg/homedir"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
)

// MaxSignatures is how many signatures an image may have. The library has the same limit for those
// of a lookaside.
const MaxSignatures = 127

// CheckSignatures refuses more signatures of an image than MaxSignatures, or more bytes of them than
// manifest.MaxSize: all of them are in memory.
func CheckSignatures(n int, bytes int64) error {
	if n > MaxSignatures {
		return fmt.Errorf("there are more than %d", MaxSignatures)
	}
	if bytes > manifest.MaxSize {
		return fmt.Errorf("they are longer than %d bytes together", manifest.MaxSize)
	}
	return nil
}

// Signatures implements Source.
func (r *reader) Signatures(ctx context.Context, d digest.Digest) ([][]byte, error) {
	instance := &d
	if d == "" {
		instance = nil
	}
	r.lookaside.Lock()
	defer r.lookaside.Unlock()
	sigs, err := image.UnparsedInstance(r.src, instance).UntrustedSignatures(limited(ctx))
	if dir := unreadLookaside(err); dir != "" && r.client != nil {
		passOver(dir, err)
		if err := r.client.NoLookaside(); err != nil {
			return nil, err
		}
		sigs, err = image.UnparsedInstance(r.src, instance).UntrustedSignatures(limited(ctx))
	}
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
		if err := CheckSignatures(len(sigs), total); err != nil {
			return nil, fmt.Errorf("read signatures: %w", err)
		}
		blobs = append(blobs, blob)
	}
	return blobs, nil
}

// unreadLookaside returns the directory, of those in which the library looks for signatures where none is configured,
// that has the file which err says cannot be read; "" for all other errors. A policy that wants a signature refuses
// an image without one.
func unreadLookaside(err error) string {
	var unread *fs.PathError
	if !errors.As(err, &unread) {
		return ""
	}
	for _, dir := range []string{"/var/lib/containers/sigstore", filepath.Join(homedir.Get(), ".local/share/containers/sigstore")} {
		if strings.HasPrefix(unread.Path, dir+"/") {
			return dir
		}
	}
	return ""
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
