package fetch

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"osbuild-containers/internal/image"
	"osbuild-containers/internal/request"
	"osbuild-containers/test/home"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestMain isolates the tests from the machine's configuration. It is also the main function of the processes started by
// world.alone.
func TestMain(m *testing.M) {
	if image.Reexec() {
		return
	}
	if path := os.Getenv(childVariable); path != "" {
		os.Exit(runChild(path))
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "fetch-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	shared.dir = filepath.Join(dir, "registry")
	defer shared.close()
	place := filepath.Join(dir, "home")
	if err := home.Setup(place, home.AcceptAnything); err != nil {
		panic(err)
	}
	home.Isolate(place)
	before := here()
	code := m.Run()
	if after := here(); !slices.Equal(after, before) {
		fmt.Fprintf(os.Stderr, "the tests have left something in the directory of the package: %q, before %q\n", after, before)
		code = 1
	}
	return code
}

// here returns the names in the working directory.
func here() (names []string) {
	entries, err := os.ReadDir(".")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// put writes a file, with the directories above it.
func put(path, content string) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		panic(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		panic(err)
	}
}

// shared is the registry used by all tests without special needs.
var shared struct {
	dir   string
	once  sync.Once
	reg   *registry.Registry
	err   error
	close func()
}

func init() {
	shared.close = func() {
		if shared.reg != nil {
			shared.reg.Close()
		}
	}
}

func sharedRegistry(t testing.TB) *registry.Registry {
	t.Helper()
	shared.once.Do(func() {
		if shared.err = os.MkdirAll(shared.dir, 0o755); shared.err == nil {
			shared.reg, shared.err = registry.Run(shared.dir)
		}
	})
	if shared.err != nil {
		t.Fatalf("start test registry: %v", shared.err)
	}
	return shared.reg
}

// repo is a repository of the test's own.
func repo(t testing.TB) string {
	return regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(t.Name()), "-") + "/name"
}

// serve pushes images and lists to a new repository, and puts a proxy in front of it.
func serve(t testing.TB, entries ...images.Entry) (f *registry.Faults, name string) {
	t.Helper()
	reg := sharedRegistry(t)
	for _, e := range entries {
		if err := images.Push(e, reg.URL, repo(t)); err != nil {
			t.Fatal(err)
		}
	}
	f = reg.Faults(t)
	return f, f.Addr + "/" + repo(t)
}

// itemOf pins an image by its own digest, over plain http.
func itemOf(img *images.Image, name string) request.Item {
	return request.Item{ID: img.ID, Image: request.Image{Name: name, Digest: img.Digest, Transport: request.Docker}}
}

// via pins an image through a list.
func via(list *images.List, img *images.Image, name string) request.Item {
	it := itemOf(img, name)
	it.Image.Digest = list.Digest
	return it
}

// listOf is an item of the index source.
func listOf(list *images.List, name string) request.Item {
	return request.Item{ID: list.Digest, Image: request.Image{Name: name, Transport: request.Docker}}
}

// outcome is the result of a request.
type outcome struct {
	t       testing.TB
	Results []request.Result
	Log     string
	Peak    int64 // peak memory in bytes; only of a separate process
}

// eventually waits until a condition is true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

// logSays reports whether a log that is being written has the text.
func logSays(path, text string) bool {
	raw, _ := os.ReadFile(path)
	return strings.Contains(string(raw), text)
}

// ok fails the test unless all items succeeded.
func (o outcome) ok() outcome {
	o.t.Helper()
	for _, r := range o.Results {
		if !r.Success {
			o.t.Errorf("%s failed:\n%s", r.Metadata.Checksum, r.Error)
		}
	}
	if o.t.Failed() {
		o.t.Fatalf("log:\n%s", o.Log)
	}
	return o
}

// cached fails the test unless all items were cached (or none, if want is false).
func (o outcome) cached(want bool) outcome {
	o.t.Helper()
	for _, r := range o.Results {
		if r.Metadata.Cached != want {
			o.t.Errorf("%s: cached is %t, want %t", r.Metadata.Checksum, r.Metadata.Cached, want)
		}
	}
	return o
}

// idle matches what depends on how busy the machine is.
var idle = regexp.MustCompile(`no progress for \d+s`)

// failed fails the test unless the only item failed with this error. In want, <name> stands for the image; pairs are further
// words with their replacements.
func (o outcome) failed(want string, pairs ...string) outcome {
	o.t.Helper()
	if len(o.Results) != 1 || o.Results[0].Success {
		o.t.Fatalf("got %+v, want one item that failed", o.Results)
	}
	want = strings.NewReplacer(pairs...).Replace(want)
	if got := idle.ReplaceAllString(o.Results[0].Error, "no progress for 0s"); got != want {
		o.t.Errorf("error is\n\t%s\nwant\n\t%s\nlog:\n%s", indent(got), indent(want), o.Log)
	}
	return o
}

func indent(s string) string { return strings.ReplaceAll(s, "\n", "\n\t") }

// says fails the test unless each text is in a line of the log.
func (o outcome) says(texts ...string) outcome {
	o.t.Helper()
	for _, text := range texts {
		if !strings.Contains(o.Log, text) {
			o.t.Errorf("the log does not say %q:\n%s", text, o.Log)
		}
	}
	return o
}

// world is a cache and the settings to fill it.
type world struct {
	t       testing.TB
	cache   string
	options request.Options
	wait    time.Duration // before the first retry
	home    string        // if not empty, run in a separate process with this HOME
	env     []string      // of that process
	secrets []string      // must not appear in any output
}

// stall is the stall timeout where a test waits for it: what a busy machine needs for an answer is far less.
const stall = 2 * time.Second

func newWorld(t testing.TB) *world {
	return &world{
		t:       t,
		cache:   filepath.Join(t.TempDir(), "cache"),
		options: request.Options{Retries: 3, Timeout: time.Minute, StallTimeout: 20 * time.Second, HeaderTimeout: 20 * time.Second, MaxParallel: 4},
		wait:    time.Millisecond,
	}
}

// alone gives the world its own process, home and environment.
func (w *world) alone(env ...string) *world {
	w.home = w.t.TempDir()
	if err := home.Setup(w.home, ""); err != nil {
		w.t.Fatal(err)
	}
	w.env = env
	return w
}

// config writes a file below the world's home.
func (w *world) config(path, content string) {
	put(filepath.Join(w.home, path), content)
}

func (w *world) images(items ...request.Item) outcome {
	w.t.Helper()
	return w.do("images", items)
}

func (w *world) lists(items ...request.Item) outcome {
	w.t.Helper()
	return w.do("lists", items)
}

func (w *world) do(what string, items []request.Item) outcome {
	w.t.Helper()
	slices.SortFunc(items, func(a, b request.Item) int { return strings.Compare(string(a.ID), string(b.ID)) })
	o := childRequest{What: what, Wait: w.wait, Request: request.Request{Method: request.Download, Items: items, Options: w.options, Cache: w.cache}}
	var out outcome
	if w.home == "" {
		out = o.run(w.t.Context())
	} else {
		out = w.send(o)
	}
	out.t = w.t
	for _, secret := range w.secrets {
		if strings.Contains(out.Log, secret) {
			w.t.Errorf("the log has the secret %q:\n%s", secret, out.Log)
		}
		for _, r := range out.Results {
			if strings.Contains(r.Error, secret) {
				w.t.Errorf("an error has the secret %q:\n%s", secret, r.Error)
			}
		}
	}
	return out
}
