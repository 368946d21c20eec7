package mirror

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/hint"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// A registry that accepts only complete lists gets them with All; otherwise the error counts the missing images.
func TestListsWithoutAllTheirImages(t *testing.T) {
	w := newWorld(t, registry.Validating())
	amd := images.New(images.Layer(2000))
	arm := images.New(images.Layer(3000), images.Arch("arm64"))
	note := images.New(images.Artifact("application/vnd.in-toto+json"), images.Layer(100))
	list := images.NewList(images.Of(amd, arm, note))
	w.push("app:v1", list)
	pins := w.pins("amd64", "registry.example/app:v1")
	got := w.failure(pins)
	for _, text := range []string{
		"registry.example/app:v1: the registry does not take the manifest list " + list.Digest.String() + " without all its images (2 of 3 are missing): ",
		"\ncopy the other images too with --all, or have the registry take such lists",
	} {
		if !strings.Contains(got, text) {
			t.Errorf("got %s\nwant %s", got, text)
		}
	}
	w.has("app", amd.Digest.String(), amd.Raw)
	w.opts.All = true
	res := w.copy(pins)
	w.has("app", "v1", list.Raw)
	w.hasBlobs("app", arm)
	if res.There != amd.Size() {
		t.Errorf("%+v: what was there is sent again", res.Sum)
	}
}

// TestSchema1IsNotMirrored checks the error for an image that registries refuse.
func TestSchema1IsNotMirrored(t *testing.T) {
	w := newWorld(t)
	old := images.Schema1("old", "v1", images.Layer(100))
	w.from.On(registry.Any("/old/"), registry.Handle(old.Handler()))
	pins := w.pins("amd64", "registry.example/old:v1")
	w.from.On(registry.Any("/old/"), registry.Handle(old.Handler())) // pins has reset it
	got := w.failure(pins)
	if !strings.Contains(got, "an image of Docker's schema 1 cannot be mirrored: the registries of today refuse its manifest") {
		t.Errorf("got %s", got)
	}
}

// A registry that accepts incomplete lists gets only the pinned images.
func TestOnlyWhatIsPinnedIsSent(t *testing.T) {
	w := newWorld(t)
	amd := images.New(images.Layer(2000))
	list := images.NewList(images.Of(amd, images.New(images.Layer(3000), images.Arch("arm64"))))
	w.push("app:v1", list)
	res := w.copy(w.pins("amd64", "registry.example/app:v1"))
	w.has("app", "v1", list.Raw)
	if res.Sent != amd.Size() {
		t.Errorf("%d bytes were sent, the image has %d", res.Sent, amd.Size())
	}
}

// Without permission to push, the error says how to log in and contains no credentials.
func TestTheMirrorWantsALogin(t *testing.T) {
	basic, token := registry.Basic("ann", "s3cret"), registry.Token("ann", "s3cret", time.Minute)
	for name, c := range map[string]struct {
		auth  registry.Option
		quiet bool // only the repositories ask for it
	}{
		"basic": {basic, false}, "token": {token, false}, "basic of the repository": {basic, true}, "token of the repository": {token, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.auth)
			if c.quiet {
				w.to.On(registry.Get("^/v2/$"), registry.Status(200, "{}"))
			}
			base := images.New(images.Layer(2000))
			w.push("base:v1", base)
			w.push("app:v1", images.New(images.Use(base.Layers...), images.Layer(100)))
			pins := w.pins("any", "registry.example/base:v1", "registry.example/app:v1")
			w.opts.Tries.Retries = 1
			for _, login := range []string{"", "ann:wr0ng"} {
				w.opts.To.AuthFile = w.auth(login)
				got := w.failure(pins)
				if !strings.HasSuffix(got, "\nlog in (podman login, --dest-authfile), and check that the account may push to this repository") ||
					!strings.Contains(got, "send to ADDR/mirror/base: ") || strings.Contains(got, "wr0ng") {
					t.Errorf("with %q: %s", login, got)
				}
			}
			w.opts.To.AuthFile = w.auth("ann:s3cret")
			res := w.copy(pins)
			if w.hasBlobs("base", base); res.Mounted != base.Layers[0].Size {
				t.Errorf("%+v, want a layer mounted", res.Sum)
			}
			if strings.Contains(w.log.String(), "s3cret") {
				t.Errorf("the log shows a password:\n%s", &w.log)
			}
		})
	}
}

// auth writes a credentials file for the mirror.
func (w *world) auth(login string) string {
	path := filepath.Join(w.t.TempDir(), "auth.json")
	text := "{}"
	if login != "" {
		text = fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, w.to.Addr, base64.StdEncoding.EncodeToString([]byte(login)))
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// A missing image does not keep the others from being mirrored.
func TestOneFailureLeavesTheOthersAlone(t *testing.T) {
	w := newWorld(t)
	app := images.New(images.Layer(2000))
	gone := images.New(images.Use(app.Layers...), images.Layer(100))
	w.push("app:v1", app)
	w.push("gone:v1", gone)
	pins := w.pins("any", "registry.example/app:v1", "registry.example/gone:v1")
	w.from.On(registry.Blob(gone.Layers[1].Digest.String()), registry.Error(404, "BLOB_UNKNOWN", "blob unknown to registry"))
	res, err := w.try(t.Context(), pins)
	if err != nil {
		t.Fatal(err)
	}
	if res.Images[0].Err != nil || res.Images[1].Err == nil {
		t.Errorf("got %v and %v", res.Images[0].Err, res.Images[1].Err)
	}
	w.has("app", "v1", app.Raw)
	if n := len(w.mirrorTags("gone")); n != 0 {
		t.Error("the manifest of an image is there without one of its layers")
	}
}

// Images that cannot be mirrored together are refused before anything is sent.
func TestRefusedDestinations(t *testing.T) {
	w := newWorld(t)
	w.push("app:v1", images.New(images.Layer(100)))
	pins := w.pins("any", "registry.example/app:v1", "other.example/app:v1")
	want := "other.example/app:v1 and registry.example/app:v1 would both be ADDR/mirror/app:v1\nkeep them apart with --scoped"
	if got := w.failure(pins); !strings.HasPrefix(got, want) && !strings.HasPrefix(got, "registry.example/app:v1 and other.example/app:v1 would both be ADDR/mirror/app:v1\nkeep them apart with --scoped") {
		t.Errorf("got %s\nwant %s", got, want)
	}
	w.opts.Place.Scoped = true
	w.copy(pins)
	for n := range pins {
		pins[n].Transport = "containers-storage"
	}
	if got := w.failure(pins); got != hint.Text(errNothing, hint.Flags) {
		t.Errorf("got %s", got)
	}
	pins = pins[:1]
	pins[0].Transport, pins[0].ID = "", digest.FromString("another")
	if got := w.failure(pins); !strings.Contains(got, "pin it again") {
		t.Errorf("got %s", got)
	}
}

// A tag pinned at two times for two architectures is set to the later one.
func TestTheLatestPinOfATagGetsIt(t *testing.T) {
	w := newWorld(t)
	old, fresh := images.New(images.Layer(100)), images.New(images.Layer(200))
	w.push("app:v1", old)
	pins := w.pins("any", "registry.example/app:v1")
	w.push("app:v1", fresh)
	pins = append(w.pins("amd64", "registry.example/app:v1"), pins...)
	pins[0].Resolved = pins[0].Resolved.Add(time.Hour)
	w.copy(pins)
	w.has("app", "v1", fresh.Raw)
	w.has("app", old.Digest.String(), old.Raw)
}

func TestAMirrorThatDoesNotAnswer(t *testing.T) {
	w := newWorld(t)
	w.push("app:v1", images.New(images.Layer(100)))
	pins := w.pins("any", "registry.example/app:v1")
	w.opts.Tries.Retries = 0
	place, err := ParsePlace("127.0.0.1:1/mirror")
	if err != nil {
		t.Fatal(err)
	}
	w.opts.Place = place
	got := w.failure(pins)
	if !strings.HasPrefix(got, "send to 127.0.0.1:1/mirror/app: ") || !strings.HasSuffix(got, "connection refused\ncheck that the registry runs and that this machine can reach it") {
		t.Errorf("got %s", got)
	}
	if n := len(w.from.Requests()); n > 0 {
		t.Errorf("%d requests for nothing", n)
	}
}

// The URL of an upload may be signed, so errors do not contain it.
func TestAddressesOfUploadsAreNotTold(t *testing.T) {
	w := newWorld(t)
	w.push("app:v1", images.New())
	pins := w.pins("any", "registry.example/app:v1")
	w.opts.Tries.Retries = 0
	w.to.On(registry.Method(http.MethodPatch, ""), registry.Error(http.StatusServiceUnavailable, "UNAVAILABLE", "later"))
	if got := w.failure(pins); !strings.Contains(got, "503") || strings.Contains(got, "_state") {
		t.Errorf("got %s", got)
	}
}

// A list that names another one repeatedly is read once.
func TestListsThatNameOneAgainAndAgain(t *testing.T) {
	w := newWorld(t)
	app := images.New()
	inner := images.NewList(images.Of(app))
	for range 3 {
		inner = images.NewList(images.Of(inner, inner, inner, inner))
	}
	w.push("app:v1", images.NewList(images.Of(app, inner)))
	w.opts.All = true
	w.copy(w.pins("any", "registry.example/app:v1"))
	if n := len(w.from.Matching(registry.Get("/manifests/sha256:"))); n != 6 { // the image and five lists
		t.Errorf("%d manifests were asked for", n)
	}
}
