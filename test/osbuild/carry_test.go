package osbuild

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestAirGapped builds in a network without internet access: pin and export outside, carry one file,
// import and build inside, without the registry.
func TestAirGapped(t *testing.T) {
	h := newHost(t)
	if os.Getuid() != 0 {
		t.Skip("osbuild needs root")
	}
	if out, err := exec.Command("unshare", "-n", "true").CombinedOutput(); err != nil {
		t.Skipf("no network namespace can be made here: %v: %s", err, out)
	}
	reg, err := registry.Run(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceValue(reg.Close)
	t.Cleanup(func() { _ = stop() })
	base := images.New(images.Files(images.File{Name: "etc/", Mode: 0o755}, images.File{Name: "etc/base", Mode: 0o644, Data: []byte("1")}))
	amd := images.New(images.Layer(200_000), images.Layer(3000))
	list := images.NewList(images.Of(amd, images.New(images.Arch("arm64"), images.Layer(4000))))
	tools := images.New(images.Docker(), images.Seed(3), images.Layer(5000))
	base.Push(t, reg.URL, "base:1")
	list.Push(t, reg.URL, "app:1")
	tools.Push(t, reg.URL, "tools:latest")

	here, there := t.TempDir(), t.TempDir()
	tool(t, here, "pin", "--arch", "x86_64", reg.Addr+"/base:1", reg.Addr+"/app:1", reg.Addr+"/tools", "--tls-verify=false")
	tool(t, here, "export", "-o", filepath.Join(there, "images.tar"), "--cache", filepath.Join(here, "cache"), "--tls-verify=false")
	stored := inputs([]string{list.Digest.String()}, amd.ID.String(), tools.ID.String())
	stored["images"].(object)["references"] = object{
		amd.ID.String(): object{"name": "localhost/app:1"}, tools.ID.String(): object{"name": "localhost/tools"},
	}
	m := manifest(object{
		"org.osbuild.skopeo": items(object{
			base.ID.String(): pinned(reg.Addr+"/base", base), amd.ID.String(): pinned(reg.Addr+"/app", amd),
			tools.ID.String(): pinned(reg.Addr+"/tools", tools),
		}),
		"org.osbuild.skopeo-index": items(object{list.Digest.String(): listed(reg.Addr + "/app")}),
	}, object{"type": "org.osbuild.container-deploy", "inputs": inputs(nil, base.ID.String())}, object{
		"type":    "org.osbuild.skopeo",
		"inputs":  stored,
		"options": object{"destination": object{"type": "containers-storage", "storage-driver": "vfs"}},
	})
	if r := h.build(t, m, "tree"); !r.Success {
		t.Fatal(r.text)
	}
	want := filepath.Join(h.output, "tree")

	if err := stop(); err != nil {
		t.Fatal(err)
	}
	h.offline, h.store, h.output = true, t.TempDir(), t.TempDir()
	if out, err := offline(t, filepath.Join(h.libdir, "sources", "org.osbuild.skopeo"), object{
		"cache": h.sources(), "options": object{"retries": 0}, "items": object{base.ID.String(): pinned(reg.Addr+"/base:1", base)},
	}); err == nil {
		t.Fatalf("without the images they are there: %s", out)
	}
	tool(t, there, "import", "images.tar", "--cache", h.sources())
	h.output = t.TempDir()
	r := h.build(t, m, "tree")
	if !r.Success {
		t.Fatal(r.text)
	}
	wantCached(t, r, "org.osbuild.skopeo", 3, true)
	wantCached(t, r, "org.osbuild.skopeo-index", 1, true)
	if out, err := exec.Command("diff", "-r", "--no-dereference", want, filepath.Join(h.output, "tree")).CombinedOutput(); err != nil {
		t.Errorf("the trees differ: %v\n%s", err, out)
	}
	for _, img := range []*images.Image{base, amd, tools} {
		wantImage(t, h.sources("org.osbuild.containers", img.ID.String(), "image"), img)
	}

	h.sourceOffline(t, "org.osbuild.skopeo", object{"cache": h.sources(), "items": object{
		base.ID.String(): pinned(reg.Addr+"/base:1", base), amd.ID.String(): pinned(reg.Addr+"/app", amd),
		tools.ID.String(): pinned(reg.Addr+"/tools", tools),
	}})
	h.sourceOffline(t, "org.osbuild.skopeo", object{"cache": h.sources(), "items": object{ // pinned by the list
		amd.ID.String(): object{"image": object{"name": reg.Addr + "/app", "digest": list.Digest.String()}},
	}})
	h.sourceOffline(t, "org.osbuild.skopeo-index", object{"cache": h.sources(), "items": object{list.Digest.String(): listed(reg.Addr + "/app")}})
}

// sourceOffline asks an executable for what has to be in the cache.
func (h *host) sourceOffline(t *testing.T, source string, request object) {
	t.Helper()
	out, err := offline(t, filepath.Join(h.libdir, "sources", source), request)
	var reply struct {
		Success bool
		Results []struct{ Metadata struct{ Cached bool } }
	}
	if jsonErr := json.Unmarshal(out, &reply); err != nil || jsonErr != nil || !reply.Success {
		t.Fatalf("%s: %v, %v\n%s", source, err, jsonErr, out)
	}
	for _, r := range reply.Results {
		if !r.Metadata.Cached {
			t.Errorf("%s: %s", source, out)
		}
	}
}

// offline runs an executable without a network.
func offline(t *testing.T, path string, request object) ([]byte, error) {
	t.Helper()
	raw, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "-n", "--", path)
	cmd.Stdin = bytes.NewReader(raw)
	return cmd.Output()
}
