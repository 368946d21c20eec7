package mirror

import (
	"context"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/semaphore"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/hint"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// Two lists and an image with common layers in three repositories: the mirror gets them byte for byte under their digests and tags,
// each blob is read and sent once, and a second run sends nothing.
func TestAMirrorIsTheSame(t *testing.T) {
	w := newWorld(t)
	base := images.New(images.Layer(300_000), images.Layer(20_000))
	app := images.New(images.Use(base.Layers...), images.Seed(1), images.Layer(1000))
	arm := images.New(images.Use(base.Layers...), images.Arch("arm64"), images.Seed(2), images.Layer(2000))
	list := images.NewList(images.Of(app, arm))
	w.push("base:v1", base)
	w.push("team/app:v1", list)
	w.push("team/deep/copy:v2", list)
	pins := append(w.pins("any", "registry.example/base:v1"), w.pins("amd64", "registry.example/team/app:v1", "registry.example/team/deep/copy:v2")...)
	pins = append(pins, w.pins("arm64", "registry.example/team/app:v1", "registry.example/team/deep/copy:v2")...)

	res := w.copy(pins)
	w.has("base", base.Digest.String(), base.Raw)
	w.has("base", "v1", base.Raw)
	w.hasBlobs("base", base)
	for _, at := range []struct{ repo, tag string }{{"team/app", "v1"}, {"team/deep/copy", "v2"}} {
		w.has(at.repo, at.tag, list.Raw)
		for _, img := range []*images.Image{app, arm} {
			w.has(at.repo, img.Digest.String(), img.Raw)
			w.hasBlobs(at.repo, img)
		}
	}
	w.readOnce()
	unique := base.Size() + app.Layers[2].Size + arm.Layers[2].Size + int64(len(app.Config)+len(arm.Config))
	if res.Sent != unique || len(w.sent()) != 7 || res.There != 0 || res.Mounted == 0 {
		t.Errorf("%+v with %d uploads, want %d bytes sent with 7", res.Sum, len(w.sent()), unique)
	}

	w.from.Reset()
	w.to.Reset()
	again := w.copy(pins)
	if again.Sent+again.Mounted != 0 || again.There != res.Sent+res.Mounted {
		t.Errorf("the second run: %+v after %+v", again.Sum, res.Sum)
	}
	for _, r := range w.to.Requests() {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			t.Errorf("the second run: %s %s", r.Method, r.Path)
		}
	}
	if n := len(w.from.Matching(registry.Get("/blobs/"))); n > 0 {
		t.Errorf("the second run has read %d blobs", n)
	}
}

// A plan sends nothing and predicts what Copy does.
func TestAPlanSendsNothing(t *testing.T) {
	w := newWorld(t)
	base := images.New(images.Layer(3000))
	w.push("base:v1", base)
	w.push("app:v1", images.New(images.Use(base.Layers...), images.Layer(100)))
	pins := w.pins("any", "registry.example/base:v1", "registry.example/app:v1")
	plan, err := Plan(t.Context(), w.opts, pins, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range append(w.to.Requests(), w.from.Matching(registry.Any("/blobs/"))...) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			t.Errorf("the plan: %s %s", r.Method, r.Path)
		}
	}
	if n := len(w.from.Matching(registry.Get("/blobs/"))); n > 0 {
		t.Errorf("the plan has read %d blobs", n)
	}
	if res := w.copy(pins); res.Sum != plan.Sum || plan.Mounted != base.Layers[0].Size {
		t.Errorf("planned %+v, done %+v", plan.Sum, res.Sum)
	}
}

// A registry that does not mount gets each blob once per repository, but the blob is still read only once.
func TestWithoutMountsBlobsAreStillReadOnce(t *testing.T) {
	w := newWorld(t)
	w.to.On(registry.Method(http.MethodPost, "/blobs/uploads/"), func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			r.URL.RawQuery = "" // an upload begins instead
			next.ServeHTTP(rw, r)
		})
	})
	base := images.New(images.Layer(300_000), images.Layer(20_000))
	app := images.New(images.Use(base.Layers...), images.Seed(1), images.Layer(1000))
	tool := images.New(images.Use(base.Layers...), images.Seed(2), images.Layer(1000))
	w.push("base:v1", base)
	w.push("app:v1", app)
	w.push("tool:v1", tool)
	pins := w.pins("any", "registry.example/base:v1", "registry.example/app:v1", "registry.example/tool:v1")
	res := w.copy(pins)
	w.hasBlobs("base", base)
	w.hasBlobs("app", app)
	w.hasBlobs("tool", tool)
	w.readOnce()
	if res.Mounted != 0 || res.Sent < 3*base.Size() {
		t.Errorf("%+v, want all sent three times", res.Sum)
	}
}

// Blobs sent before an interruption are not sent again.
func TestInterruptedRunResumes(t *testing.T) {
	w := newWorld(t)
	w.push("app:v1", images.New(images.Layers(6, 50_000)))
	pins := w.pins("any", "registry.example/app:v1")
	ctx, cancel := context.WithCancel(t.Context())
	w.opts.Tries.MaxParallel = 1
	w.to.On(registry.Method(http.MethodPatch, "").Nth(4), func(http.Handler) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { cancel() })
	})
	_, err := w.try(ctx, pins)
	if err == nil {
		t.Fatal("it was not interrupted")
	}
	if text := hint.Text(err, hint.Flags); !strings.Contains(text, "kB are kept in "+w.opts.Place.String()+": run it again to continue") {
		t.Errorf("got %q, want how much was sent", text)
	}
	if tags := w.to.Matching(registry.Method(http.MethodPut, "/manifests/")); len(tags) > 0 {
		t.Errorf("a manifest was sent before its blobs: %s", tags[0].Path)
	}
	before := len(w.sent())
	w.from.Reset()
	w.to.Reset()
	res := w.copy(pins)
	if n := len(w.sent()); n != 7-3 || before != 4 {
		t.Errorf("%d blobs were sent before, and %d again", before, n)
	}
	read := map[string]bool{} // the request that was interrupted may only now reach the registry
	for _, r := range w.from.Matching(registry.Get("/blobs/")) {
		read[r.Path] = true
	}
	if len(read) != 4 || res.There < 100_000 {
		t.Errorf("%d blobs were read again, %+v", len(read), res.Sum)
	}
}

// Transient errors are retried on both sides: an upload starts again, a download resumes.
func TestPassingErrorsAreTriedAgain(t *testing.T) {
	w := newWorld(t)
	app := images.New(images.Layer(300_000))
	w.push("app:v1", app)
	pins := w.pins("any", "registry.example/app:v1")
	w.to.On(registry.Method(http.MethodPatch, "").Nth(1), registry.Status(503, "busy"))
	w.to.On(registry.Method(http.MethodPut, "/manifests/").Nth(1), registry.Status(502, "gone"))
	layer := app.Layers[0].Digest.String()
	w.from.On(registry.Blob(layer).First(3), registry.ResetAfter(100_000))
	w.copy(pins)
	w.hasBlobs("app", app)
	w.has("app", "v1", app.Raw)
	got := w.from.Matching(registry.Blob(layer))
	if !slices.ContainsFunc(got, func(r registry.Request) bool { return r.Range == "bytes=100000-" }) {
		t.Errorf("the download was not continued: %+v", got)
	}
	for _, text := range []string{"503 Service Unavailable", "502 Bad Gateway"} {
		if !strings.Contains(w.log.String(), text) {
			t.Errorf("the log does not tell of %s:\n%s", text, &w.log)
		}
	}
}

// A blob damaged in transit is read again, once, and never stored.
func TestDamagedBlobsAreNotStored(t *testing.T) {
	w := newWorld(t)
	app := images.New(images.Layer(300_000))
	w.push("app:v1", app)
	pins := w.pins("any", "registry.example/app:v1")
	blob := registry.Blob(app.Layers[0].Digest.String())
	w.from.On(blob.First(1), registry.Flip(1000))
	w.copy(pins)
	w.hasBlobs("app", app)

	other := images.New(images.Layer(200_000))
	w.push("other:v1", other)
	pins = w.pins("any", "registry.example/other:v1")
	w.from.On(registry.Blob(other.Layers[0].Digest.String()), registry.Flip(1000))
	got := w.failure(pins)
	if !strings.Contains(got, "digest mismatch") {
		t.Errorf("got %s", got)
	}
	if n := len(w.mirrorTags("other")); n != 0 {
		t.Errorf("%d tags are there of an image that is not", n)
	}
}

// mirrorTags returns the requests that put manifests under a tag or digest.
func (w *world) mirrorTags(repo string) []registry.Request {
	return w.to.Matching(registry.Method(http.MethodPut, "/"+repo+"/manifests/"))
}

// Cached blobs are not read from a registry unless the cached copy is damaged.
func TestBlobsOfTheCacheAreTaken(t *testing.T) {
	w := newWorld(t)
	app := images.New(images.Layer(300_000), images.Layer(2000))
	w.push("app:v1", app)
	pins := w.pins("any", "registry.example/app:v1")
	dir := t.TempDir()
	pool, err := cache.Open(dir).OpenPool(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range app.Layers {
		wr, err := pool.Acquire(t.Context(), l.Digest, l.Size, nil)
		if err == nil {
			_, err = wr.ReadFrom(strings.NewReader(string(l.Blob)))
		}
		if err == nil {
			err = wr.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
		wr.Close()
	}
	pool.Close()
	files, _ := filepath.Glob(filepath.Join(dir, "org.osbuild.containers/.pool/blobs/sha256", app.Layers[1].Digest.Encoded()))
	damage(t, files[0])
	w.opts.Cache = cache.Open(dir)
	w.copy(pins)
	w.hasBlobs("app", app)
	if n := len(w.from.Matching(registry.Blob(app.Layers[0].Digest.String()))); n != 0 {
		t.Errorf("a blob of the cache was read %d times", n)
	}
	if n := len(w.from.Matching(registry.Blob(app.Layers[1].Digest.String()))); n != 1 {
		t.Errorf("a blob that the cache has damaged was read %d times", n)
	}
}

// Signatures of an image and its list are mirrored, for builders whose policy requires them.
func TestSignaturesAreMirrored(t *testing.T) {
	w := newWorld(t)
	amd, arm := images.New(images.Layer(2000)), images.New(images.Layer(3000), images.Arch("arm64"))
	list := images.NewList(images.Of(amd, arm))
	w.push("app:v1", list)
	tag := func(d digest.Digest) string { return strings.Replace(string(d), ":", "-", 1) + ".sig" }
	signatures := map[digest.Digest]*images.Image{}
	for n, d := range []digest.Digest{amd.Digest, list.Digest} {
		signatures[d] = images.New(images.Seed(uint64(n)), images.Layer(100))
		w.push("app:"+tag(d), signatures[d])
	}
	w.copy(w.pins("amd64", "registry.example/app:v1"))
	for d, sig := range signatures {
		w.has("app", tag(d), sig.Raw)
		w.hasBlobs("app", sig)
	}
	w.has("app", "v1", list.Raw)
	w.readOnce()
	w.said("not checked by policy.json: signatures: 2")
	w.opts.All = true
	w.copy(w.pins("amd64", "registry.example/app:v1"))
	w.said("not checked by policy.json: manifests that are not pinned: 1, signatures: 2")

	w.push("other:v1", images.New(images.Layer(1000)))
	pins := w.pins("any", "registry.example/other:v1")
	w.opts.Tries.Retries = 0
	w.from.On(registry.Get(`\.sig$`), registry.Status(503, "busy"))
	if got := w.failure(pins); !strings.HasPrefix(got, "registry.example/other:v1: look for signatures: ") {
		t.Errorf("got %s", got)
	}
}

// Signatures are not pinned, so they are limited.
func TestBoundedSignatures(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		signatures images.Entry
		want       string
	}{
		"most":  {images.New(images.Use(slices.Repeat(images.New(images.Layer(10)).Layers, 127)...)), ""},
		"many":  {images.New(images.Use(slices.Repeat(images.New(images.Layer(10)).Layers, 128)...)), "read signatures: there are more than 127"},
		"long":  {images.New(images.Layer(5 << 20)), "read signatures: they are longer than 4194304 bytes together"},
		"lists": {images.NewList(images.Of(images.New(images.Layer(10)))), "is a manifest list"},
	} {
		img := images.New(images.Config(map[string]any{"author": name}), images.Layer(100))
		w.push(name+":v1", img)
		w.push(name+":"+strings.Replace(string(img.Digest), ":", "-", 1)+".sig", c.signatures)
		pins := w.pins("any", "registry.example/"+name+":v1")
		if c.want == "" {
			w.copy(pins)
		} else if got := w.failure(pins); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func damage(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err == nil {
		raw[len(raw)/2] ^= 1
		err = os.WriteFile(path, raw, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A panic is an error and releases its slot.
func TestSlotAfterPanic(t *testing.T) {
	r := &run{slots: semaphore.NewWeighted(1)}
	if err := r.inSlot(t.Context(), func() error { panic("oh") }); err == nil {
		t.Error("no error")
	}
	if err := r.inSlot(t.Context(), func() error { return nil }); err != nil {
		t.Error(err)
	}
}

// Sums of declared sizes do not overflow.
func TestSumsDoNotOverflow(t *testing.T) {
	var s Sum
	for range 3 {
		s.add(Sum{Sent: math.MaxInt64 / 2, Mounted: math.MaxInt64 / 2, There: math.MaxInt64 / 2})
	}
	if s != (Sum{math.MaxInt64, math.MaxInt64, math.MaxInt64}) {
		t.Errorf("got %+v", s)
	}
}
