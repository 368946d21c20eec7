package osbuild

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// theirs runs a method of osbuild's own skopeo source on a cache and returns its result.
const theirs = `
import importlib.machinery, importlib.util, json, sys
path, cache, method, args = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
loader = importlib.machinery.SourceFileLoader("source", path)
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("source", loader))
loader.exec_module(module)
source = module.SkopeoSource.__new__(module.SkopeoSource)
source.cache, source.max_workers, source.options = cache + "/org.osbuild.containers", 1, {}
print(json.dumps(getattr(source, method)(*args)))
`

// theirSource calls a method of osbuild's own source.
func (h *host) theirSource(t *testing.T, cache, method string, args ...any) string {
	t.Helper()
	libdir, _, err := locate(os.Getenv("OSBUILD"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), h.python, "-c", theirs, filepath.Join(libdir, "sources", "org.osbuild.skopeo"), cache, method, string(raw))
	cmd.Env = h.env()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", method, err, out)
	}
	return string(bytes.TrimSpace(out))
}

// ourSource answers a request and returns the first item's metadata.
func (h *host) ourSource(t *testing.T, request object) (cached bool) {
	t.Helper()
	raw, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(h.libdir, "sources", "org.osbuild.skopeo"))
	var out, log bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(raw), &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("our source: %v\n%s%s", err, out.String(), log.String())
	}
	var reply struct {
		Results []struct{ Metadata struct{ Cached bool } }
	}
	if err := json.Unmarshal(out.Bytes(), &reply); err != nil {
		t.Fatal(err)
	}
	return reply.Results[0].Metadata.Cached
}

// Either source finds, uses and copies what the other has published.
func TestOurCacheAndTheirsAreOne(t *testing.T) {
	h := newHost(t)
	reg := registry.Start(t)
	img := images.New(images.Layer(300_000), images.Layer(2000))
	img.Push(t, reg.URL, "a/b")
	pin := pinned(reg.Addr+"/a/b", img)
	id := img.ID.String()
	image := func(cache string) string { return filepath.Join(cache, "org.osbuild.containers", id, "image") }

	t.Run("ours for them", func(t *testing.T) {
		cache, other := t.TempDir(), t.TempDir()
		if h.ourSource(t, object{"items": object{id: pin}, "cache": cache}) {
			t.Error("an empty cache has it")
		}
		if got := h.theirSource(t, cache, "exists", id, pin); got != "true" {
			t.Errorf("they do not find it: %s", got)
		}
		if h.old {
			return // it has no copy
		}
		h.theirSource(t, cache, "copy_all", object{id: pin}, other)
		wantImage(t, image(other), img)
		if !h.ourSource(t, object{"items": object{id: pin}, "cache": other}) {
			t.Error("we do not find their copy")
		}
	})
	t.Run("theirs for us", func(t *testing.T) {
		if _, err := exec.LookPath("skopeo"); err != nil {
			t.Skip("osbuild's source needs skopeo")
		}
		cache, other := t.TempDir(), t.TempDir()
		if err := os.Mkdir(filepath.Join(cache, "org.osbuild.containers"), 0o755); err != nil {
			t.Fatal(err)
		}
		h.theirSource(t, cache, "fetch_all", object{id: pin})
		wantImage(t, image(cache), img)
		if !h.ourSource(t, object{"items": object{id: pin}, "cache": cache}) {
			t.Error("we do not find it")
		}
		h.ourSource(t, object{"items": object{id: pin}, "cache": cache, "method": "copy", "dst_cache": other})
		wantImage(t, image(other), img)
		if got := h.theirSource(t, other, "exists", id, pin); got != "true" {
			t.Errorf("they do not find our copy: %s", got)
		}
	})
}
