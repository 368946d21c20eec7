package fleet_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// sign attaches a signature to an image of registry.example in cosign's form, and returns the public key.
func (w *world) sign(img *images.Image, repo string) string {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	payload := fmt.Appendf(nil, `{"critical": {"type": "cosign container image signature", "identity": {"docker-reference": "registry.example/%s"}, "image": {"docker-manifest-digest": %q}}, "optional": {}}`,
		repo, img.Digest)
	hash := sha256.Sum256(payload)
	signature, err := ecdsa.SignASN1(rand.Reader, key, hash[:])
	if err != nil {
		w.t.Fatal(err)
	}
	layer := images.LayerInfo{
		Digest: digest.FromBytes(payload), Size: int64(len(payload)), Blob: payload,
		MediaType: "application/vnd.dev.cosign.simplesigning.v1+json",
	}
	w.push(repo+":"+strings.Replace(string(img.Digest), ":", "-", 1)+".sig", images.New(images.Use(layer), images.Edit(func(m map[string]any) {
		m["layers"].([]any)[0].(map[string]any)["annotations"] = map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(signature)}
	})))
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
}

// A builder whose policy requires signatures finds them on the mirror, even if the origin is down. They are checked against the
// origin's names.
func TestPoliciesHoldAtTheMirror(t *testing.T) {
	w := newWorld(t)
	signed, other := images.New(images.Layer(3000)), images.New(images.Layer(4000))
	w.push("app:1", signed)
	w.push("other:1", other)
	key := filepath.Join(w.dir, "key.pem")
	w.write(key, w.sign(signed, "app"))
	w.tool("pin", "registry.example/app:1", "registry.example/other:1", "--arch", "any")
	conf := filepath.Join(w.dir, "mirror.conf")
	w.write(conf, w.tool(w.mirror()...))
	w.origin.On(registry.Any(""), registry.Reset())

	for name, want := range map[string]bool{"app": true, "other": false} {
		cmd := w.command(conf, "osbuild-containers", "fetch", "registry.example/"+name+":1", "--cache", "c", "--retries", "0")
		config := filepath.Join(homeOf(cmd.Env), ".config", "containers")
		w.write(filepath.Join(config, "policy.json"), fmt.Sprintf(`{"default": [{"type": "reject"}], "transports": {"docker": {"registry.example": [{"type": "sigstoreSigned", "keyPath": %q, "signedIdentity": {"type": "matchRepository"}}]}}}`, key))
		w.write(filepath.Join(config, "registries.d", "mirror.yaml"), "docker:\n  "+w.to.Addr+":\n    use-sigstore-attachments: true\n")
		out, err := cmd.CombinedOutput()
		if got := err == nil; got != want || !want && !strings.Contains(string(out), "refused by policy.json") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// homeOf returns the home in an environment.
func homeOf(env []string) string {
	for _, v := range env {
		if dir, ok := strings.CutPrefix(v, "HOME="); ok {
			return dir
		}
	}
	return ""
}
