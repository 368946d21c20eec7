package osbuild

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// tool runs the tool for people in a directory.
func tool(t *testing.T, dir string, args ...string) string {
	t.Helper()
	exe, err := filepath.Abs(filepath.Join("..", "..", "build", "osbuild-containers"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Dir = dir
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", args, err, out, log.String())
	}
	return string(out)
}

// template is a manifest with names in the place of ids: a base that is unpacked, and three images in
// the storage of the tree, of which two are the same.
const template = `{
  "version": "2",
  "pipelines": [
    {
      "name": "tree",
      "source-epoch": 1700000000,
      "stages": [
        {
          "type": "org.osbuild.container-deploy",
          "inputs": {
            "images": {
              "type": "org.osbuild.containers",
              "origin": "org.osbuild.source",
              "references": {"$REG/base:1": {}}
            }
          }
        },
        {
          "type": "org.osbuild.skopeo",
          "inputs": {
            "images": {
              "type": "org.osbuild.containers",
              "origin": "org.osbuild.source",
              "references": {
                "$REG/app:1": {},
                "$REG/other/app:stable": {"name": "localhost/app:stable"},
                "$REG/tools": {}
              }
            }
          },
          "options": {"destination": {"type": "containers-storage", "storage-driver": "vfs"}}
        }
      ]
    }
  ]
}
`

// TestFromTagsToTheSameTreeTwice is the way of a person: names in a manifest, pin, build; and once
// more when a tag has moved.
func TestFromTagsToTheSameTreeTwice(t *testing.T) {
	h := newHost(t)
	if os.Getuid() != 0 {
		t.Skip("osbuild needs root")
	}
	reg := registry.Start(t)
	base := images.New(images.Files(images.File{Name: "etc/", Mode: 0o755}, images.File{Name: "etc/base", Mode: 0o644, Data: []byte("1")}))
	amd := images.New(images.Layer(200_000), images.Layer(3000))
	arm := images.New(images.Arch("arm64"), images.Layer(4000))
	list := images.NewList(images.Of(amd, arm))
	same := images.NewList(images.Of(amd), images.Annotation("of", "another list with the same image"))
	tools := images.New(images.Docker(), images.Seed(3), images.Layer(5000))
	base.Push(t, reg.URL, "base:1")
	list.Push(t, reg.URL, "app:1")
	same.Push(t, reg.URL, "other/app:stable")
	tools.Push(t, reg.URL, "tools:latest")

	dir := t.TempDir()
	path := filepath.Join(dir, "m.json")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(template, "$REG", reg.Addr)), 0o666); err != nil {
		t.Fatal(err)
	}
	tool(t, dir, "pin", "--arch", "x86_64", reg.Addr+"/base:1", reg.Addr+"/app:1", reg.Addr+"/other/app:stable", reg.Addr+"/tools", "--tls-verify=false")
	tool(t, dir, "pin", "manifest", "m.json", "--tls-verify=false")
	read := func() string {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for _, id := range []string{base.ID.String(), amd.ID.String(), tools.ID.String(), list.Digest.String(), same.Digest.String()} {
		if !strings.Contains(read(), id) {
			t.Errorf("the manifest does not name %s:\n%s", id, read())
		}
	}
	h.inspect(t, path)
	first := h.tree(t, read())
	if again := h.tree(t, read()); again != first {
		t.Errorf("two builds of one manifest differ:\n%s", differences(first, again))
	}
	for _, file := range []string{"etc/base", "var/lib/containers/storage/vfs-images/images.json"} {
		if !strings.Contains(first, file) {
			t.Errorf("%s is not in the tree:\n%s", file, first)
		}
	}
	names := h.storedNames(t, amd.ID.Encoded())
	for _, name := range []string{reg.Addr + "/app:1", "localhost/app:stable"} {
		if !strings.Contains(names, name) {
			t.Errorf("the image in the tree is called %s, not %s", names, name)
		}
	}

	moved := images.New(images.Layer(200_000), images.Layer(6000))
	newer := images.NewList(images.Of(moved, arm))
	newer.Push(t, reg.URL, "app:1")
	tool(t, dir, "pin", "update", "--tls-verify=false")
	tool(t, dir, "pin", "manifest", "m.json", "--tls-verify=false")
	if got := read(); !strings.Contains(got, moved.ID.String()) || !strings.Contains(got, amd.ID.String()) || strings.Contains(got, list.Digest.String()) {
		t.Errorf("after the tag has moved, the manifest is\n%s", got)
	}
	h.inspect(t, path)
	second := h.tree(t, read())
	if second == first {
		t.Error("the tag has moved, the tree has not")
	}
	if names := h.storedNames(t, moved.ID.Encoded()); names != reg.Addr+"/app:1" {
		t.Errorf("the image that the tag points to now is called %s", names)
	}
	before := read()
	tool(t, dir, "pin", "manifest", "m.json", "--tls-verify=false")
	if read() != before {
		t.Error("what is pinned already was changed")
	}
}

// inspect lets osbuild check a manifest, against its own schemas and against ours.
func (h *host) inspect(t *testing.T, path string) {
	t.Helper()
	theirs, _, err := locate(os.Getenv("OSBUILD"))
	if err != nil {
		t.Fatal(err)
	}
	for _, libdir := range []string{theirs, h.libdir} {
		cmd := exec.CommandContext(t.Context(), h.python, "-m", "osbuild", "--libdir", libdir, "--inspect", path)
		cmd.Env = h.env()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("osbuild with the modules in %s refuses the manifest: %v\n%s", libdir, err, out)
		}
	}
}

// tree builds a manifest with an empty store, and describes every file of the tree.
func (h *host) tree(t *testing.T, manifest string) string {
	t.Helper()
	h.store, h.output = t.TempDir(), t.TempDir()
	r := h.build(t, json.RawMessage(manifest), "tree")
	if !r.Success {
		t.Fatal(r.text)
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", `
		cd "$1" && find . -printf '%p %M %U:%G %T@ %l\n' | LC_ALL=C sort && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum`,
		"-", filepath.Join(h.output, "tree")).CombinedOutput()
	if err != nil {
		t.Fatalf("describe the tree: %v\n%s", err, out)
	}
	return string(out)
}

// storedNames are the names that an image has in the storage of the tree.
func (h *host) storedNames(t *testing.T, id string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(h.output, "tree/var/lib/containers/storage/vfs-images/images.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		ID    string
		Names []string
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.ID == id {
			return strings.Join(i.Names, " ")
		}
	}
	return "nothing"
}

// differences are the lines that one text has and the other has not.
func differences(a, b string) string {
	var out strings.Builder
	for line := range strings.Lines(a) {
		if !strings.Contains(b, line) {
			out.WriteString("- " + line)
		}
	}
	for line := range strings.Lines(b) {
		if !strings.Contains(a, line) {
			out.WriteString("+ " + line)
		}
	}
	return out.String()
}
