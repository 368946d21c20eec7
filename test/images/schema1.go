package images

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	imgmanifest "github.com/containers/image/v5/manifest"
	"github.com/opencontainers/go-digest"
)

// Schema1 makes an image in Docker's schema 1, signed as those were. Its digest is of the part that is signed; ID and
// Config are those of its conversion by the library. No registry of today stores it; serve it through its Handler.
// An edit that makes it invalid leaves it without an ID.
func Schema1(name, tag string, opts ...Option) *Image {
	s := newSpec(opts)
	img := &Image{MediaType: DockerSchema1, platform: platform{Architecture: s.arch, OS: s.os, Variant: s.variant}}
	layers, history := []map[string]any{}, []map[string]any{}
	var diffIDs []digest.Digest
	for i, src := range s.layers {
		l := src.make(s.seed, i)
		l.MediaType = DockerLayer + ".gzip"
		img.Layers = append(img.Layers, l)
		v1 := map[string]any{
			"id": fmt.Sprintf("%064x", i+1), "created": "2023-11-14T22:13:20Z", "os": s.os, "architecture": s.arch,
			"container_config": map[string]any{"Cmd": []string{"/bin/sh", "-c", "#(nop) ADD file in /"}},
			"config":           map[string]any{"Cmd": []string{"/bin/sh"}},
		}
		if i > 0 {
			v1["parent"] = fmt.Sprintf("%064x", i)
		}
		if l.Digest == EmptyLayer.Digest {
			v1["throwaway"] = true
		} else {
			diffIDs = append(diffIDs, l.DiffID)
		}
		text, err := json.Marshal(v1)
		must(err)
		layers = append(layers, map[string]any{"blobSum": l.Digest})
		history = append(history, map[string]any{"v1Compatibility": string(text)})
	}
	slices.Reverse(layers)
	slices.Reverse(history)
	m := map[string]any{
		"schemaVersion": 1, "name": name, "tag": tag, "architecture": s.arch, "fsLayers": layers, "history": history,
	}
	var payload bytes.Buffer
	must(json.Indent(&payload, encode(m, s.edits), "", "   "))
	img.setSchema1(payload.Bytes(), diffIDs)
	return img
}

// setSchema1 makes the payload the manifest of an image, signed.
func (img *Image) setSchema1(payload []byte, diffIDs []digest.Digest) {
	img.Digest = digest.FromBytes(payload)
	img.Raw = Sign(payload)
	if old, err := imgmanifest.Schema1FromManifest(payload); err == nil {
		if img.Config, err = old.ToSchema2Config(diffIDs); err == nil {
			img.ID = digest.FromBytes(img.Config)
		}
	}
}

// EmptyLayer is the layer that Docker wrote for each step that changes no file, sha256:a3ed95ca…. Schema1 marks it as
// one to be thrown away.
var EmptyLayer = func() LayerInfo {
	blob := []byte("\x1f\x8b\x08\x00\x00\x09\x6e\x88\x00\xff\x62\x18\x05\xa3\x60\x14\x8c\x58\x00\x08\x00\x00\xff\xff\x2e\xaf\xb5\xef\x00\x04\x00\x00")
	return LayerInfo{
		Digest: digest.FromBytes(blob), DiffID: digest.FromBytes(make([]byte, 1024)), Size: int64(len(blob)), Blob: blob, compression: Gzip,
	}
}()

// Sign adds a "signatures" member as libtrust did: the signed bytes are found
// again by cutting at formatLength and appending formatTail.
func Sign(payload []byte) []byte {
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
