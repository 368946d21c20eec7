package fetch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
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

// signed pushes a sigstore attachment for a manifest as cosign does, and returns the published signature.
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

// signer signs images with its own key.
type signer struct{ key *ecdsa.PrivateKey }

func newSigner() signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	return signer{key}
}

// public returns the public key in PEM.
func (s signer) public() string {
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	must(err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// sign attaches a signature for the manifest and name, and returns the published signature.
func (s signer) sign(t testing.TB, d digest.Digest, name string) string {
	t.Helper()
	payload := fmt.Appendf(nil, `{"critical": {"type": "cosign container image signature", "identity": {"docker-reference": %q}, "image": {"docker-manifest-digest": %q}}, "optional": {}}`,
		name, d)
	hash := sha256.Sum256(payload)
	signature, err := ecdsa.SignASN1(rand.Reader, s.key, hash[:])
	must(err)
	return attach(t, d, repo(t), payload, signature)
}

// policy writes a policy.json: for each name a file with a key below the home, or "" to accept it unsigned. All other names are
// rejected.
func (w *world) policy(keys map[string]string) {
	scopes := map[string]any{}
	for name, key := range keys {
		scopes[name] = []any{map[string]string{"type": "insecureAcceptAnything"}}
		if key != "" {
			scopes[name] = []any{map[string]any{
				"type": "sigstoreSigned", "keyPath": w.home + "/" + key, "signedIdentity": map[string]string{"type": "matchRepository"},
			}}
		}
	}
	raw, err := json.Marshal(map[string]any{"default": []any{map[string]string{"type": "reject"}}, "transports": map[string]any{"docker": scopes}})
	must(err)
	w.config(".config/containers/policy.json", string(raw))
}

// attachments enables reading of signatures attached in cosign's form.
func (w *world) attachments(host string) {
	w.config(".config/containers/registries.d/test.yaml", "docker:\n  "+host+":\n    use-sigstore-attachments: true\n")
}

// TestSignatureRequiredByPolicy fetches an image accepted by its signature: the signature that the policy has read is published,
// and is not requested again.
func TestSignatureRequiredByPolicy(t *testing.T) {
	t.Parallel()
	s := newSigner()
	f, name := serve(t, layered)
	want := s.sign(t, layered.Digest, name)
	w := newWorld(t).alone()
	w.config("key.pem", s.public())
	w.policy(map[string]string{name: "key.pem"})
	w.attachments(f.Addr)
	w.images(itemOf(layered, name)).ok()
	w.has(layered, want)
	if n := len(f.Matching(registry.Get(`\.sig$`))); n != 1 {
		t.Errorf("the signature was asked for %d times", n)
	}
	f.On(registry.Any(""), registry.Status(500, ""))
	w.images(itemOf(layered, name)).ok().cached(true)
}

// TestSignaturesAreReadOnce opens the source again between the policy check and publication: the signatures that the policy has
// checked are published, whatever the registry serves by then.
func TestSignaturesAreReadOnce(t *testing.T) {
	t.Parallel()
	for name, later := range map[string]registry.Fault{
		"gone":    registry.Status(404, ""),
		"trouble": registry.Status(500, ""),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSigner()
			f, name := serve(t, layered)
			want := s.sign(t, layered.Digest, name)
			w := newWorld(t).alone()
			w.config("key.pem", s.public())
			w.policy(map[string]string{name: "key.pem"})
			w.attachments(f.Addr)
			f.On(registry.Blob(string(layered.Layers[0].Digest)).First(1), registry.Error(403, "DENIED", "the token is too old"))
			f.On(registry.Get(`\.sig$`).From(2), later)
			w.images(itemOf(layered, name)).ok()
			w.has(layered, want)
			if n := len(f.Matching(registry.Get(`\.sig$`))); n != 1 {
				t.Errorf("the signature was asked for %d times", n)
			}
			if n := len(f.Matching(registry.Get(`^/v2/$`))); n < 2 {
				t.Error("the source was not opened again")
			}
		})
	}
}

// TestPolicyForCachedImages pairs how an image got into the cache, and the policy in force at a later request, with the result: who
// fetched it, and under which name, is irrelevant.
func TestPolicyForCachedImages(t *testing.T) {
	t.Parallel()
	const (
		hint     = "\nsign the image, or allow it in policy.json"
		unsigned = "<name>: refused by policy.json: A signature was required, but no signature exists" + hint
		rejected = "<name>: refused by policy.json: Running image docker://<name> is rejected by policy." + hint
	)
	for name, c := range map[string]struct {
		signed  bool
		then    map[string]string // later policy; free and prod are names of the image
		want    string            // error for prod; "" is success
		fetched bool              // success after asking the registry again
		offline bool              // the registry must not be needed
	}{
		"accepted":             {then: map[string]string{"prod": ""}, offline: true},
		"signature wanted":     {then: map[string]string{"free": "", "prod": "key.pem"}, want: unsigned},
		"rejected":             {then: map[string]string{"free": ""}, want: rejected, offline: true},
		"signed":               {signed: true, then: map[string]string{"prod": "key.pem"}, fetched: true},
		"signed by another":    {signed: true, then: map[string]string{"prod": "other.pem"}, want: "<name>: refused by policy.json: cryptographic signature verification failed: "},
		"no key":               {signed: true, then: map[string]string{"prod": "none.pem"}, want: "<name>: refused by policy.json: open <home>/none.pem: no such file or directory"},
		"a host that is named": {then: map[string]string{"<host>": ""}, offline: true},
	} {
		for _, kind := range []string{"image", "list", "copy", "copy of a list"} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				list := images.NewList(images.Of(layered))
				f, prod := serve(t, list)
				free := f.Addr + "/" + repo(t) + "-free"
				must(images.Push(list, sharedRegistry(t).URL, repo(t)+"-free"))
				s := newSigner()
				w := newWorld(t).alone()
				w.config("key.pem", s.public())
				w.config("other.pem", newSigner().public())
				w.attachments(f.Addr)
				w.policy(map[string]string{f.Addr: ""})
				do, item, d := w.images, itemOf(layered, free), layered.Digest
				wanted := itemOf(layered, prod)
				if strings.Contains(kind, "list") {
					do, item, wanted, d = w.lists, listOf(list, free), listOf(list, prod), list.Digest
				}
				do(item).ok().cached(false)
				if c.signed {
					s.sign(t, d, prod)
				}
				policy := map[string]string{}
				for scope, key := range c.then {
					policy[strings.NewReplacer("<host>", f.Addr, "free", free, "prod", prod).Replace(scope)] = key
				}
				w.policy(policy)
				if c.offline {
					f.On(registry.Any(""), registry.Status(404, ""))
				}
				var out outcome
				copied := strings.HasPrefix(kind, "copy")
				if copied {
					out = w.copyTo(newWorld(t), wanted)
				} else {
					out = do(wanted)
				}
				want := c.want
				if c.signed && copied { // copies have no signature
					want = unsigned
				}
				if want == "" {
					out.ok().cached(!c.fetched && !copied)
					return
				}
				want = strings.NewReplacer("<name>", targetOf(wanted).String(), "<home>", w.home).Replace(want)
				if r := out.Results[0]; r.Success || !strings.HasPrefix(r.Error, want) {
					t.Errorf("got %+v, want %s", r, want)
				}
				if !c.offline && !copied {
					out.says("in the cache, but refused by policy.json: ")
				}
			})
		}
	}
}

// TestUnreadablePolicy checks that only a missing policy.json counts as no policy, for cached images too.
func TestUnreadablePolicy(t *testing.T) {
	t.Parallel()
	const at = ".config/containers/policy.json"
	for name, spoil := range map[string]func(home string) error{
		"a link to itself":  func(home string) error { return os.Symlink("policy.json", filepath.Join(home, at)) },
		"a link to nothing": func(home string) error { return os.Symlink("nothing", filepath.Join(home, at)) },
		"below a loop": func(home string) error {
			return replaceWith(home, func(dir string) error { return os.Symlink("containers", dir) })
		},
		"below a file": func(home string) error {
			return replaceWith(home, func(dir string) error { return os.WriteFile(dir, nil, 0o600) })
		},
		"with a broken text": func(home string) error { return os.WriteFile(filepath.Join(home, at), []byte("{"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := images.NewList(images.Of(layered))
			_, image := serve(t, list)
			w := newWorld(t).alone()
			w.config(at, home.AcceptAnything)
			w.images(itemOf(layered, image)).ok()
			w.lists(listOf(list, image)).ok()
			must(os.Remove(filepath.Join(w.home, at)))
			must(spoil(w.home))
			for _, out := range []outcome{w.images(itemOf(layered, image)), w.lists(listOf(list, image))} {
				r := out.Results[0]
				if r.Success || !strings.Contains(r.Error, ": read signature policy: ") || !strings.Contains(r.Error, w.home) || !strings.Contains(r.Error, "\nmake policy.json readable") {
					t.Errorf("got %+v", r)
				}
			}
		})
	}
}

// replaceWith replaces the directory with the configuration.
func replaceWith(home string, put func(string) error) error {
	dir := filepath.Join(home, ".config/containers")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return put(dir)
}

// TestSignatures checks that the signatures of the image, not of the list, are published with it.
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
		"lookaside in a directory":  {simple: []string{one}, config: "lookaside: file://<home>/sigs"},
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

// TestSignaturesInTrouble checks that a signature that cannot be read does not count as missing.
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

// TestPolicy pairs a policy.json with the result. No layer of a refused image is fetched.
func TestPolicy(t *testing.T) {
	t.Parallel()
	const hint = "\nsign the image, or allow it in policy.json"
	const file = "\nmake policy.json readable and valid, or remove it: without one the pinned digests decide"
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
		"not JSON":            {"{", "<name>: read signature policy: invalid policy in \"<home>/.config/containers/policy.json\": unexpected end of JSON input" + file},
		"unknown kind":        {`{"default": [{"type": "maybe"}]}`, `<name>: read signature policy: invalid policy in "<home>/.config/containers/policy.json": Unknown policy requirement type "maybe"` + file},
		"unsigned":            {strings.Replace(key, "key.gpg", "empty.gpg", 1), "<name>: refused by policy.json: A signature was required, but no signature exists" + hint},
		"a directory":         {"<dir>", "<name>: read signature policy: read <home>/.config/containers/policy.json: is a directory" + file},
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

// TestPolicyForLists checks that a requested list is subject to policy.
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

// TestNoPolicy checks that a missing policy.json is logged once, and only if something is fetched.
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

// TestUnreadableLookaside checks that an unreadable lookaside is skipped if it is a default one, and an error if it is configured.
func TestUnreadableLookaside(t *testing.T) {
	t.Parallel()
	f, name := serve(t, layered)
	for _, named := range []bool{false, true} {
		w := newWorld(t).alone()
		w.env = append(w.env, "_CONTAINERS_ROOTLESS_UID=1000") // the library's default differs for root
		w.config(".local/share/containers/sigstore", "not a directory, which root cannot read either")
		if named {
			w.config("sigs", "not a directory")
			w.config(".config/containers/registries.d/test.yaml", "docker:\n  "+f.Addr+":\n    lookaside: file://"+w.home+"/sigs\n")
		}
		out := w.images(itemOf(layered, name))
		if got := out.Results[0]; got.Success == named || named && !strings.Contains(got.Error, w.home+"/sigs/") {
			t.Errorf("named %v: the result is %+v", named, got)
		}
		if got := strings.Count(out.Log, "not a directory; continuing without it"); !named && got != 1 {
			t.Errorf("it was said %d times\n%s", got, out.Log)
		}
	}
}
