package pack

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Every installed tool that reads images can read the archive.
func TestToolsReadIt(t *testing.T) {
	mustBeRoot(t)
	tree := t.TempDir()
	everything(t, tree, inOrder)
	privileged(t, tree)
	setTime(t, tree+"/old", time.Unix(1, 500)) // podman does not support times before 1970
	for _, c := range []Compression{{Format: "gzip"}, {Format: "zstd"}, {Format: "none"}} {
		path := pack(t, testImage(c), tree, tree)
		want := lines(t, read(t, path).layer(t, 0))
		t.Run("skopeo "+c.Format, func(t *testing.T) {
			run(t, "skopeo", "copy", "--insecure-policy", "oci-archive:"+path, "dir:"+t.TempDir())
		})
		t.Run("podman "+c.Format, func(t *testing.T) {
			if c.Format == "none" {
				t.Skip("podman is asked twice")
			}
			store, err := os.MkdirTemp("/tmp", "podman") //nolint:usetesting // podman refuses paths of more than 50 characters
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(store)
			podman := func(args ...string) string {
				return run(t, "podman", append([]string{"--storage-driver", "vfs", "--root", store + "/root", "--runroot", store + "/run"}, args...)...)
			}
			podman("pull", "-q", "oci-archive:"+path)
			out := podman("image", "mount", read(t, path).manifest.Config.Digest.Encoded())
			comesBack(t, strings.TrimSpace(out), want, 1) // podman ignores the entry of the root
		})
		t.Run("umoci "+c.Format, func(t *testing.T) {
			if c.Format != "gzip" {
				t.Skip("umoci is asked once: before 0.5, it does not read zstd")
			}
			dir := t.TempDir()
			run(t, "skopeo", "copy", "--insecure-policy", "oci-archive:"+path, "oci:"+dir+"/oci:x")
			run(t, "umoci", "unpack", "--keep-dirlinks", "--image", dir+"/oci:x", dir+"/bundle")
			comesBack(t, dir+"/bundle/rootfs", want, 0)
		})
		t.Run("tar "+c.Format, func(t *testing.T) {
			if c.Format != "none" {
				t.Skip("tar is asked once")
			}
			layer, dir := filepath.Join(t.TempDir(), "layer"), t.TempDir()
			must(t, os.WriteFile(layer, read(t, path).layer(t, 0), 0o600))
			run(t, "tar", "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "-xpf", layer, "-C", dir)
			comesBack(t, dir, want, 0)
		})
	}
}

// comesBack packs the directory again and compares all entries of the layer after the first ones.
func comesBack(t *testing.T, dir string, want []string, first int) {
	t.Helper()
	got := lines(t, read(t, pack(t, testImage(Compression{Format: "none"}), dir)).layer(t, 0))
	compare(t, got[first:], want[first:])
}

// compare reports the first line that differs.
func compare(t *testing.T, got, want []string) {
	t.Helper()
	line := func(lines []string, i int) string { return append(slices.Clone(lines), "nothing")[min(i, len(lines))] }
	for i := range max(len(got), len(want)) {
		if a, b := line(got, i), line(want, i); a != b {
			t.Fatalf("entry %d\n got %s\nwant %s", i, a, b)
		}
	}
}

// run returns a program's standard output.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skip(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", name, err, out, log.String())
	}
	return string(out)
}
