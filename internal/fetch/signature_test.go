package fetch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/request"
	"osbuild-containers/test/home"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// signed pushes a sigstore attachment for a manifest, as cosign does, and returns what is
// published of it.
func signed(t testing.TB, d digest.Digest, repo string) string {
	t.Helper()
	payload := []byte(`{"critical": {"image": {"docker-manifest-digest": "` + string(d) + `"}}}`)
	return attach(t, d, repo, payload, []byte("signature of "+d))
}

func attach(t testing.TB, d digest.Digest, repo string, payload, signature []byte) string {
	t.Helper()
	encoded := base64.StdEncoding.EncodeToString(signature)
	layer := images.LayerInfo{
		Digest: digest.FromBytes(payload), Size: int64(len(payload)), Blob: payload,
		MediaType: "application/vnd.dev.cosign.simplesigning.v1+json",
	}
	images.New(images.Use(layer), images.Edit(func(m map[string]any) {
		m["layers"].([]any)[0].(map[string]any)["annotations"] = map[string]string{"dev.cosignproject.cosign/signature": encoded}
	})).Push(t, sharedRegistry(t).URL, repo+":"+strings.Replace(string(d), ":", "-", 1)+".sig")
	return fmt.Sprintf("\x00sigstore-json\n"+`{"mimeType":"application/vnd.dev.cosign.simplesigning.v1+json","payload":%q,"annotations":{"dev.cosignproject.cosign/signature":%q}}`,
		base64.StdEncoding.EncodeToString(payload), encoded)
}

// TestSignatureThatPolicyWants shows an image that is let in because it is signed: what the policy
// has read is published, and is not asked for again.
func TestSignatureThatPolicyWants(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	must(err)
	f, name := serve(t, layered)
	payload := fmt.Appendf(nil, `{"critical": {"type": "cosign container image signature", "identity": {"docker-reference": %q}, "image": {"docker-manifest-digest": %q}}, "optional": {}}`,
		name, layered.Digest)
	hash := sha256.Sum256(payload)
	signature, err := ecdsa.SignASN1(rand.Reader, key, hash[:])
	must(err)
	want := attach(t, layered.Digest, repo(t), payload, signature)
	w := newWorld(t).alone()
	w.config("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))
	w.config(".config/containers/policy.json", `{"default": [{"type": "sigstoreSigned", "keyPath": "`+w.home+`/key.pem", "signedIdentity": {"type": "matchRepository"}}]}`)
	w.config(".config/containers/registries.d/test.yaml", "docker:\n  "+f.Addr+":\n    use-sigstore-attachments: true\n")
	w.images(itemOf(layered, name)).ok()
	w.has(layered, want)
	for _, m := range []registry.Match{registry.Get(`\.sig$`), registry.Blob(string(digest.FromBytes(payload)))} {
		if n := len(f.Matching(m)); n != 1 {
			t.Errorf("the signature was asked for %d times", n)
		}
	}
}

// TestSignatures shows that what signs the image, not the list, is published beside it.
func TestSignatures(t *testing.T) {
	t.Parallel()
	const one, two = "\x89\x02 a signature of any kind", "\x89\x02 another"
	for name, c := range map[string]struct {
		list     bool // the image is pinned through a list
		simple   []string
		sigstore bool
		config   string
	}{
		"none":                      {},
		"lookaside":                 {simple: []string{one, two}, config: "lookaside: <url>/sigs"},
		"lookaside in a folder":     {simple: []string{one}, config: "lookaside: file://<home>/sigs"},
		"lookaside, old name":       {simple: []string{one}, config: "sigstore: <url>/sigs"},
		"lookaside of nothing":      {config: "lookaside: <url>/nothing"},
		"lookaside, through a list": {list: true, simple: []string{one}, config: "lookaside: <url>/sigs"},
		"sigstore":                  {sigstore: true, config: "use-sigstore-attachments: true"},
		"sigstore of nothing":       {config: "use-sigstore-attachments: true"},
		"sigstore, through a list":  {list: true, sigstore: true, config: "use-sigstore-attachments: true"},
		"both":                      {simple: []string{one}, sigstore: true, config: "lookaside: <url>/sigs\n    use-sigstore-attachments: true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := images.NewList(images.Of(layered))
			f, name := serve(t, list)
			elsewhere := registry.NewCatcher(t)
			w := newWorld(t).alone()
			w.config(".config/containers/policy.json", home.AcceptAnything)
			want := c.simple
			for i, s := range c.simple {
				at := fmt.Sprintf("/sigs/%s@sha256=%s/signature-%d", repo(t), layered.Digest.Encoded(), i+1)
				elsewhere.Serve(at, []byte(s))
				w.config(at, s)
			}
			for _, d := range []digest.Digest{layered.Digest, list.Digest} {
				if c.sigstore {
					if s := signed(t, d, repo(t)); d == layered.Digest {
						want = append(want[:len(want):len(want)], s)
					}
				}
			}
			conf := strings.NewReplacer("<url>", elsewhere.URL, "<home>", w.home).Replace(c.config)
			if conf != "" {
				w.config(".config/containers/registries.d/test.yaml", "docker:\n  "+f.Addr+":\n    "+conf+"\n")
			}
			it := itemOf(layered, name)
			if c.list {
				it = via(list, layered, name)
			}
			w.images(it).ok()
			w.has(layered, want...)
			w.images(it).ok().cached(true)
		})
	}
}

// TestSignaturesInTrouble shows that a signature that cannot be read is not one that is not there.
func TestSignaturesInTrouble(t *testing.T) {
	t.Parallel()
	f, name := serve(t, layered)
	elsewhere := registry.NewCatcher(t)
	elsewhere.On(registry.Any(""), registry.Status(500, ""))
	w := newWorld(t).alone()
	w.config(".config/containers/registries.d/test.yaml", "docker:\n  "+f.Addr+":\n    lookaside: "+elsewhere.URL+"\n")
	w.options.Retries = 1
	out := w.images(itemOf(layered, name))
	if out.Results[0].Success || !strings.Contains(out.Results[0].Error, "500 Internal Server Error (gave up after 2 tries)") {
		t.Errorf("got %+v", out.Results[0])
	}
	w.nothing()
	elsewhere.Reset()
	elsewhere.On(registry.Any("").First(1), registry.Status(500, ""))
	w.images(itemOf(layered, name)).ok()
	w.has(layered)
}

// TestPolicy pairs a policy.json with what it lets in. Of what is refused no layer is fetched.
func TestPolicy(t *testing.T) {
	t.Parallel()
	const hint = "\nsign the image, or allow it in policy.json"
	const key = `{"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "<home>/key.gpg"}]}`
	for name, c := range map[string]struct {
		policy string
		want   string // "" is success
	}{
		"accept":              {home.AcceptAnything, ""},
		"reject":              {`{"default": [{"type": "reject"}]}`, "<name>: refused by policy.json: Running image docker://<name> is rejected by policy." + hint},
		"signed, no such key": {key, "<name>: refused by policy.json: open <home>/key.gpg: no such file or directory" + hint},
		"reject by name":      {`{"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {"<repo>": [{"type": "reject"}]}}}`, "<name>: refused by policy.json: Running image docker://<name> is rejected by policy." + hint},
		"accept by name":      {`{"default": [{"type": "reject"}], "transports": {"docker": {"<repo>": [{"type": "insecureAcceptAnything"}]}}}`, ""},
		"reject by host":      {`{"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {"<host>": [{"type": "reject"}]}}}`, "<name>: refused by policy.json: Running image docker://<name> is rejected by policy." + hint},
		"not JSON":            {"{", "<name>: read signature policy: invalid policy in \"<home>/.config/containers/policy.json\": unexpected end of JSON input"},
		"unknown kind":        {`{"default": [{"type": "maybe"}]}`, `<name>: read signature policy: invalid policy in "<home>/.config/containers/policy.json": Unknown policy requirement type "maybe"`},
		"unsigned":            {strings.Replace(key, "key.gpg", "empty.gpg", 1), "<name>: refused by policy.json: A signature was required, but no signature exists" + hint},
		"a folder":            {"<dir>", "<name>: read signature policy: read <home>/.config/containers/policy.json: is a directory"},
	} {
		for _, pinned := range []string{"image", "list"} {
			t.Run(name+", "+pinned, func(t *testing.T) {
				t.Parallel()
				list := images.NewList(images.Of(layered))
				f, image := serve(t, list)
				w := newWorld(t).alone()
				if c.policy == "<dir>" {
					must(os.MkdirAll(filepath.Join(w.home, ".config/containers/policy.json"), 0o755))
				} else {
					w.config(".config/containers/policy.json", strings.NewReplacer("<home>", w.home, "<repo>", image, "<host>", f.Addr).Replace(c.policy))
				}
				w.config("empty.gpg", "")
				if name == "signed, no such key" {
					w.config(".config/containers/registries.d/test.yaml", "docker:\n  "+f.Addr+":\n    lookaside: file://"+w.home+"/sigs\n")
					w.config(fmt.Sprintf("sigs/%s@sha256=%s/signature-1", repo(t), layered.Digest.Encoded()), "\x89\x02 a signature")
				}
				it := itemOf(layered, image)
				if pinned == "list" {
					it = via(list, layered, image)
				}
				out := w.images(it)
				if c.want == "" {
					out.ok()
					w.has(layered)
					return
				}
				out.failed(c.want, "<name>", image+"@"+string(it.Image.Digest), "<home>", w.home)
				w.nothing()
				if n := f.BytesSent("/blobs/"); n != 0 {
					t.Errorf("%d bytes of blobs were downloaded", n)
				}
			})
		}
	}
}

// TestPolicyForLists shows that a list is subject to policy where it is what is wanted.
func TestPolicyForLists(t *testing.T) {
	t.Parallel()
	list := images.NewList(images.Of(layered))
	_, image := serve(t, list)
	w := newWorld(t).alone()
	w.config(".config/containers/policy.json", `{"default": [{"type": "reject"}]}`)
	w.lists(listOf(list, image)).failed("<name>: refused by policy.json: Running image docker://<name> is rejected by policy."+
		"\nsign the image, or allow it in policy.json", "<name>", image+"@"+string(list.Digest))
	w.nothing()
	w.config(".config/containers/policy.json", home.AcceptAnything)
	w.lists(listOf(list, image)).ok()
}

// TestNoPolicy shows that where there is no policy.json at all that is said, once, and only
// where something is fetched.
func TestNoPolicy(t *testing.T) {
	t.Parallel()
	other := images.New(images.Layer(10))
	_, name := serve(t, layered, other)
	w := newWorld(t).alone()
	items := []request.Item{itemOf(layered, name), itemOf(other, name)}
	want := 1
	if _, err := os.Stat("/etc/containers/policy.json"); err == nil {
		want = 0 // the machine has one
	}
	for range 2 {
		out := w.images(items...).ok()
		if got := strings.Count(out.Log, "no policy.json: the pinned digests alone decide what is accepted"); got != want {
			t.Errorf("said %d times, want %d:\n%s", got, want, out.Log)
		}
		want = 0
	}
}
