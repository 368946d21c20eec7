package mirror

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
	"osbuild-containers/test/home"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestMain isolates the tests from the machine's configuration.
func TestMain(m *testing.M) {
	if image.Reexec() {
		return
	}
	os.Exit(home.Run(m))
}

// world has two real registries, registry.example with the images and that of the mirror, each behind a proxy that counts and breaks
// requests.
type world struct {
	t        *testing.T
	origin   *registry.Registry
	mirror   *registry.Registry
	from, to *registry.Faults
	opts     Options

	mu  sync.Mutex
	log bytes.Buffer
}

func newWorld(t *testing.T, mirror ...registry.Option) *world {
	t.Helper()
	w := &world{t: t, origin: registry.Start(t), mirror: registry.Start(t, mirror...)}
	w.from, w.to = w.origin.Faults(t), w.mirror.Faults(t)
	path := filepath.Join(t.TempDir(), "registries.conf")
	text := ""
	for _, name := range []string{"registry.example", "other.example"} {
		text += fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", name, w.from.Addr)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONTAINERS_REGISTRIES_CONF", path)
	place, err := ParsePlace(w.to.Addr + "/mirror")
	if err != nil {
		t.Fatal(err)
	}
	w.opts = Options{Place: place, From: request.Access{TLSVerify: true}, Tries: request.DefaultOptions()}
	w.opts.Tries.StallTimeout, w.opts.Tries.HeaderTimeout = 5*time.Second, 5*time.Second
	return w
}

// Write implements io.Writer.
func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

// said fails the test unless the log contains the text.
func (w *world) said(text string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !strings.Contains(w.log.String(), text) {
		w.t.Errorf("the log does not say %q:\n%s", text, &w.log)
	}
}

// push pushes an image or a list to the images' registry.
func (w *world) push(name string, e images.Entry) {
	w.t.Helper()
	if err := images.Push(e, w.origin.URL, name); err != nil {
		w.t.Fatal(err)
	}
}

// pins pins references.
func (w *world) pins(arch string, refs ...string) []pin.Image {
	w.t.Helper()
	p, err := pin.ParsePlatform(arch)
	if err != nil {
		w.t.Fatal(err)
	}
	var wanted []pin.Wanted
	for _, text := range refs {
		ref, err := pin.ParseReference(w.opts.From, text)
		if err != nil {
			w.t.Fatal(err)
		}
		wanted = append(wanted, pin.Wanted{Reference: ref, Platforms: []pin.Platform{p}})
	}
	r := &pin.Resolver{Access: w.opts.From, Options: w.opts.Tries, Note: w.t.Logf}
	all, err := r.Resolve(w.t.Context(), wanted)
	if err != nil {
		w.t.Fatal(err)
	}
	w.from.Reset()
	return all
}

// try runs Copy.
func (w *world) try(ctx context.Context, pins []pin.Image) (*Result, error) {
	w.t.Helper()
	log := progress.NewLog(w)
	defer log.Close()
	res, err := Copy(ctx, w.opts, pins, log)
	if w.t.Failed() || err != nil {
		w.t.Logf("log:\n%s", &w.log)
	}
	return res, err
}

// copy runs Copy, and fails the test on an error.
func (w *world) copy(pins []pin.Image) *Result {
	w.t.Helper()
	res, err := w.try(w.t.Context(), pins)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, i := range res.Images {
		if i.Err != nil {
			w.t.Fatalf("%s: %v\nlog:\n%s", i.Reference, i.Err, &w.log)
		}
	}
	return res
}

// failure mirrors one image and returns its error, in which ADDR is the mirror's address.
func (w *world) failure(pins []pin.Image) string {
	w.t.Helper()
	res, err := w.try(w.t.Context(), pins)
	if err == nil {
		err = res.Images[0].Err
	}
	if err == nil {
		w.t.Fatal("it is mirrored")
	}
	return strings.ReplaceAll(hint.Line(err, hint.Flags), w.to.Addr, "ADDR")
}

// has fails the test unless the mirror has a manifest with these bytes under a digest or tag.
func (w *world) has(repository, ref string, raw []byte) {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodGet, w.mirror.URL+"/v2/mirror/"+repository+"/manifests/"+ref, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, kind := range []string{"application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"} {
		req.Header.Add("Accept", kind)
	}
	res, err := w.mirror.Client().Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	got, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK || !bytes.Equal(got, raw) {
		w.t.Errorf("the mirror has of %s %s: %s, %d bytes, want %d", repository, ref, res.Status, len(got), len(raw))
	}
}

// hasBlobs fails the test unless the mirror has all blobs of an image.
func (w *world) hasBlobs(repository string, img *images.Image) {
	w.t.Helper()
	blobs := []digest.Digest{img.ID}
	for _, l := range img.Layers {
		blobs = append(blobs, l.Digest)
	}
	for _, d := range blobs {
		res, err := w.mirror.Client().Get(w.mirror.URL + "/v2/mirror/" + repository + "/blobs/" + d.String())
		if err != nil {
			w.t.Fatal(err)
		}
		v := d.Verifier()
		_, _ = io.Copy(v, res.Body)
		res.Body.Close()
		if !v.Verified() {
			w.t.Errorf("the mirror does not have %s of %s", d, repository)
		}
	}
}

// readOnce fails the test unless every blob was read from its registry exactly once.
func (w *world) readOnce() {
	w.t.Helper()
	seen := map[string]int{}
	for _, r := range w.from.Matching(registry.Get("/blobs/")) {
		_, d, _ := strings.Cut(r.Path, "/blobs/")
		if seen[d]++; seen[d] > 1 {
			w.t.Errorf("%s was read %d times", r.Path, seen[d])
		}
	}
	if len(seen) == 0 {
		w.t.Error("no blob was read")
	}
}

// sent returns the requests that sent blobs to the mirror.
func (w *world) sent() []registry.Request {
	return w.to.Matching(registry.Method(http.MethodPatch, "/blobs/uploads/"))
}
