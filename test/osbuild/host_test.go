package osbuild

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"osbuild-containers/test/store"
)

func TestMain(m *testing.M) { store.Main(m) }

// modules are the parts of a libdir.
var modules = []string{
	"assemblers", "devices", "inputs", "mounts", "osbuild", "runners", "schemas", "sources", "stages",
}

// host is an osbuild with our executables in its libdir.
type host struct {
	libdir string
	store  string
	output string
	python string
	path   string // PYTHONPATH
	old    bool   // before v186: a source that fails is an exception that is not caught

	offline bool // run in a network namespace with nothing in it
}

// newHost skips the test where there is no osbuild.
func newHost(t *testing.T) *host {
	t.Helper()
	place := os.Getenv("OSBUILD")
	if place == "" {
		t.Skip("no osbuild: set OSBUILD to a checkout or an installed prefix (make test-osbuild OSBUILD=…)")
	}
	libdir, path, err := locate(place)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{libdir: t.TempDir(), store: t.TempDir(), output: t.TempDir(), path: path}
	for _, m := range modules {
		run(t, "cp", "-rL", filepath.Join(libdir, m), h.libdir)
		if err := os.RemoveAll(filepath.Join(h.libdir, m, "test")); err != nil {
			t.Fatal(err)
		}
	}
	ours := filepath.Join("..", "..", "build", "libdir")
	if _, err := os.Stat(filepath.Join(ours, "sources", "org.osbuild.skopeo")); err != nil {
		t.Fatal("the executables are not there: run make first")
	}
	run(t, "cp", "-r", ours+"/.", h.libdir)
	if h.python, err = h.findPython(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), h.python, "-c", "import osbuild; print(osbuild.__version__)")
	cmd.Env = h.env()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	h.old = version < 186
	return h
}

// locate finds the libdir and the Python package of a checkout or a prefix.
func locate(place string) (libdir, pythonPath string, err error) {
	if _, err := os.Stat(filepath.Join(place, "stages")); err == nil {
		return place, place, nil
	}
	libdir = filepath.Join(place, "lib", "osbuild")
	if _, err := os.Stat(filepath.Join(libdir, "stages")); err != nil {
		return "", "", fmt.Errorf("OSBUILD=%s is neither a checkout nor a prefix with lib/osbuild", place)
	}
	found, err := filepath.Glob(filepath.Join(place, "lib", "python3*", "*-packages", "osbuild"))
	if len(found) > 0 {
		pythonPath = filepath.Dir(found[0])
	}
	return libdir, pythonPath, err
}

func (h *host) findPython() (string, error) {
	var why error
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		cmd := exec.Command(python, "-c", "import osbuild.main_cli")
		cmd.Env = h.env()
		out, err := cmd.CombinedOutput()
		if err == nil {
			return python, nil
		}
		why = fmt.Errorf("%s cannot run osbuild: %w\n%s", python, err, out)
	}
	return "", why
}

func (h *host) env() []string {
	return append(os.Environ(), "PYTHONPATH="+h.path, "PYTHONDONTWRITEBYTECODE=1")
}

// command runs osbuild on a manifest; all pipelines given are exported.
func (h *host) command(t *testing.T, manifest any, exports ...string) *exec.Cmd {
	t.Helper()
	data, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "manifest.json")
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"-m", "osbuild", "--libdir", h.libdir, "--store", h.store,
		"--output-directory", h.output, "--json",
	}
	for _, e := range exports {
		args = append(args, "--export", e)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, h.python, append(args, path)...)
	if h.offline {
		cmd = exec.CommandContext(ctx, "unshare", append([]string{"-n", "--", h.python}, append(args, path)...)...)
	}
	cmd.Env = h.env()
	return cmd
}

// result is what osbuild prints with --json.
type result struct {
	Success bool                       `json:"success"`
	Sources map[string]json.RawMessage `json:"sources"`

	text string // all it printed
}

type sourceResult struct {
	Cached   bool   `json:"cached"`
	Checksum string `json:"checksum"`
	Error    string `json:"error"`
}

// of returns the results of one source; none from osbuild before v186, which
// does not print them.
func (r result) of(t *testing.T, source string) (out []sourceResult, printed bool) {
	t.Helper()
	if r.Sources == nil {
		return nil, false
	}
	if err := json.Unmarshal(r.Sources[source], &out); err != nil {
		t.Fatalf("results of %s: %v\n%s", source, err, r.text)
	}
	return out, true
}

// build runs osbuild to its end.
func (h *host) build(t *testing.T, manifest any, exports ...string) result {
	t.Helper()
	cmd := h.command(t, manifest, exports...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	r := result{text: stdout.String() + stderr.String()}
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatalf("run osbuild: %v", err)
	}
	if h.old && err != nil && stdout.Len() == 0 {
		return r
	}
	if jsonErr := json.Unmarshal(stdout.Bytes(), &r); jsonErr != nil {
		t.Fatalf("osbuild's output: %v, %v\n%s", jsonErr, err, r.text)
	}
	if r.Success != (err == nil) {
		t.Errorf("osbuild says success %t and exits with %v", r.Success, err)
	}
	return r
}

// sources is the directory the sources write to.
func (h *host) sources(elem ...string) string {
	return filepath.Join(append([]string{h.store, "sources"}, elem...)...)
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}
