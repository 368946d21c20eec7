package image

import (
	"bytes"
	"encoding/json"

	"github.com/containers/image/v5/signature"
	"github.com/opencontainers/go-digest"
)

// SignedDigest returns the digest of the manifest that a signature, in the format of the dir:
// transport, says it is of; "" where it says none that can be read without its key. Nothing is
// trusted by that: it only tells a signature of another image.
func SignedDigest(sig []byte) digest.Digest {
	stored, sigstore := bytes.CutPrefix(sig, []byte("\x00sigstore-json\n"))
	if !sigstore {
		info, err := signature.GetUntrustedSignatureInformationWithoutVerifying(sig)
		if err != nil {
			return ""
		}
		return info.UntrustedDockerManifestDigest
	}
	var s struct {
		Payload []byte `json:"payload"`
	}
	var payload struct {
		Critical struct {
			Image struct {
				Digest digest.Digest `json:"docker-manifest-digest"`
			} `json:"image"`
		} `json:"critical"`
	}
	if json.Unmarshal(stored, &s) != nil || json.Unmarshal(s.Payload, &payload) != nil {
		return ""
	}
	return payload.Critical.Image.Digest
}
