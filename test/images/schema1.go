package images

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Schema1 makes an image in docker's schema 1, signed as those were: it has no
// config and so no ID. Its digest is of the part that is signed. No registry of
// today stores it; serve it through its Handler.
func Schema1(name, tag string, opts ...Option) *Image {
	s := newSpec(opts)
	img := &Image{MediaType: DockerSchema1, platform: platform{Architecture: s.arch, OS: s.os}}
	layers, history := []map[string]any{}, []map[string]any{}
	for i, src := range s.layers {
		l := src.make(s.seed, i)
		l.MediaType = DockerLayer + ".gzip"
		img.Layers = append(img.Layers, l)
		layers = append(layers, map[string]any{"blobSum": l.Digest})
		v1 := fmt.Sprintf(`{"id":"%064x","created":"2023-11-14T22:13:20Z","os":"linux","architecture":%q}`, i, s.arch)
		history = append(history, map[string]any{"v1Compatibility": v1})
	}
	payload, err := json.MarshalIndent(map[string]any{
		"schemaVersion": 1, "name": name, "tag": tag, "architecture": s.arch,
		"fsLayers": layers, "history": history,
	}, "", "   ")
	must(err)
	img.Digest = digest.FromBytes(payload)
	img.Raw = sign(payload)
	return img
}

// sign adds a "signatures" member as libtrust did: the signed bytes are found
// again by cutting at formatLength and appending formatTail.
func sign(payload []byte) []byte {
	b64 := base64.RawURLEncoding.EncodeToString
	head := strings.TrimSuffix(string(payload), "\n}")
	protected, err := json.Marshal(map[string]any{
		"formatLength": len(head), "formatTail": b64([]byte("\n}")), "time": "2023-11-14T22:13:20Z",
	})
	must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	hash := sha256.Sum256([]byte(b64(protected) + "." + b64(payload)))
	r, v, err := ecdsa.Sign(rand.Reader, key, hash[:])
	must(err)
	signature := append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...)
	public, err := key.PublicKey.Bytes() // 0x04, x, y
	must(err)
	signatures, err := json.MarshalIndent([]any{map[string]any{
		"header": map[string]any{"alg": "ES256", "jwk": map[string]string{
			"kty": "EC", "crv": "P-256", "kid": keyID(key), "x": b64(public[1:33]), "y": b64(public[33:]),
		}},
		"signature": b64(signature),
		"protected": b64(protected),
	}}, "   ", "   ")
	must(err)
	return fmt.Appendf(nil, "%s,\n   \"signatures\": %s\n}", head, signatures)
}

// keyID names a key as libtrust does: twelve groups of four letters of its hash.
func keyID(key *ecdsa.PrivateKey) string {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	must(err)
	hash := sha256.Sum256(der)
	letters := base32.StdEncoding.EncodeToString(hash[:30])
	var groups []string
	for i := 0; i < len(letters); i += 4 {
		groups = append(groups, letters[i:i+4])
	}
	return strings.Join(groups, ":")
}
