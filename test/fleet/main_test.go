package fleet_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"osbuild-containers/internal/pin"
	"osbuild-containers/test/home"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// world has registry.example with the images and the registry that the builders share, each behind a proxy that counts requests.
type world struct {
	t          *testing.T
	reg        *registry.Registry
	origin, to *registry.Faults
	conf       string // registries.conf of the machine that pins and mirrors
	dir        string // where its pin file is
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, reg: registry.Start(t), dir: t.TempDir()}
	w.origin, w.to = w.reg.Faults(t), registry.Start(t, registry.Validating()).Faults(t)
	w.conf = filepath.Join(w.dir, "registries.conf")
	w.write(w.conf, fmt.Sprintf("[[registry]]\nprefix = \"registry.example\"\nlocation = %q\ninsecure = true\n", w.origin.Addr))
	return w
}

func (w *world) write(path, text string) {
	w.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) push(name string, e images.Entry) {
	w.t.Helper()
	if err := images.Push(e, w.reg.URL, name); err != nil {
		w.t.Fatal(err)
	}
}

// executable returns the path of a built executable.
func executable(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "build", name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("%v: run make first", err)
	}
	return path
}

// command returns a command with its own home and that registries.conf.
func (w *world) command(conf, name string, args ...string) *exec.Cmd {
	w.t.Helper()
	dir := w.t.TempDir()
	if err := home.Setup(dir, home.AcceptAnything); err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(executable(w.t, name), args...)
	cmd.Dir = w.dir
	cmd.Env = append(home.Environ(dir), "CONTAINERS_REGISTRIES_CONF="+conf)
	return cmd
}

// tool runs osbuild-containers on the machine that pins and mirrors, and returns its standard output.
func (w *world) tool(args ...string) string {
	w.t.Helper()
	var out, log bytes.Buffer
	cmd := w.command(w.conf, "osbuild-containers", args...)
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		w.t.Fatalf("%v: %v\n%s", args, err, &log)
	}
	return out.String()
}

// mirror returns the arguments to mirror what is pinned.
func (w *world) mirror() []string {
	return []string{"mirror", w.to.Addr + "/fleet", "--dest-tls-verify=false", "--cache", "none"}
}

// requests returns osbuild's requests to its sources for all pins.
func (w *world) requests(cache string) map[string]string {
	w.t.Helper()
	f, err := pin.Read(filepath.Join(w.dir, pin.FileName))
	if err != nil {
		w.t.Fatal(err)
	}
	imgs, lists := map[string]any{}, map[string]any{}
	for _, i := range f.Images {
		imgs[i.ID.String()] = map[string]any{"image": map[string]any{"name": i.Reference, "digest": i.Manifest}}
		if i.List != "" {
			lists[i.List.String()] = map[string]any{"image": map[string]any{"name": i.Reference}}
		}
	}
	all := map[string]string{}
	for source, items := range map[string]any{"org.osbuild.skopeo": imgs, "org.osbuild.skopeo-index": lists} {
		raw, err := json.Marshal(map[string]any{"items": items, "cache": cache})
		if err != nil {
			w.t.Fatal(err)
		}
		all[source] = string(raw)
	}
	return all
}
