package deploy_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/deploy"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/unpack"
)

// archived is the archive of an image.
func archived(t *testing.T, c deploy.Case) []byte {
	t.Helper()
	var b bytes.Buffer
	i := &unpack.Image{Name: "image", Layers: c.Layers}
	if err := i.Tar(t.Context(), &b, c.Options, progress.NewLog(io.Discard)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The archive of an image has the tree that its layers have: as a layer, it is deployed to the same.
func TestTheArchiveHasTheSameTree(t *testing.T) {
	for name, c := range deploy.Cases(t) {
		t.Run(name, func(t *testing.T) {
			raw := archived(t, c)
			want, got := deploy.Tree(t, c.Options, c.Layers...), deploy.Tree(t, deploy.Options{}, deploy.LayerOf(raw))
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if again := archived(t, c); !bytes.Equal(again, raw) {
				t.Error("the archive is another one when it is written again")
			}
		})
	}
}

// GNU tar makes the same tree of it, the times of directories with symbolic links included.
func TestGNUTarExtractsTheSameTree(t *testing.T) {
	gnuTar, err := exec.LookPath("tar")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("needs tar, and root, who can give files to others")
	}
	c := deploy.Case{Layers: deploy.Mixed(t), Options: deploy.Options{Epoch: time.Unix(5, 0)}}
	dir := t.TempDir()
	cmd := exec.Command(gnuTar, "--xattrs", "--xattrs-include=*", "-xpf", "-", "-C", dir)
	cmd.Stdin = bytes.NewReader(archived(t, c))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got, want := deploy.TreeIn(t, dir), deploy.Tree(t, c.Options, c.Layers...); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if out, err := exec.Command("find", filepath.Join(dir, "holes"), "-size", "+100k", "-printf", "%S").Output(); err == nil && string(out) >= "0.5" {
		t.Errorf("holes takes %s of its size", out)
	}
}

// saved is an image as docker save writes it.
func saved(t *testing.T, layers []deploy.Layer) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, content []byte) {
		must(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
		_, err := w.Write(content)
		must(t, err)
	}
	var names []string
	var diffIDs []digest.Digest
	for n, l := range layers {
		r, err := l.Open()
		must(t, err)
		content, err := io.ReadAll(r)
		must(t, errors.Join(err, r.Close()))
		names, diffIDs = append(names, fmt.Sprint(n, ".tar")), append(diffIDs, l.DiffID)
		add(names[n], content)
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Cmd": []string{"x"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	})
	must(t, err)
	add("config.json", config)
	manifest, err := json.Marshal([]any{map[string]any{"Config": "config.json", "RepoTags": []string{"localhost/a:1"}, "Layers": names}})
	must(t, err)
	add("manifest.json", manifest)
	must(t, w.Close())
	return b.Bytes()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ordinary returns layers as builders make them, with what other tools can have, too.
func ordinary(t *testing.T) []deploy.Layer {
	t.Helper()
	when := time.Unix(1_700_000_000, 0)
	entry := func(kind byte, name, link string) tar.Header {
		return tar.Header{Typeflag: kind, Name: name, Linkname: link, Mode: 0o755, Uid: 3, Gid: 4, ModTime: when, Format: tar.FormatPAX}
	}
	dir := func(name string) tar.Header { return entry(tar.TypeDir, name+"/", "") }
	file := func(name string) tar.Header {
		h := entry(tar.TypeReg, name, "")
		h.Size = 1
		return h
	}
	ping := file("usr/ping")
	ping.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
	ping.ModTime = when.Add(time.Second / 2)
	null := entry(tar.TypeChar, "null", "")
	null.Devmajor, null.Devminor = 1, 3
	old := file("usr/old")
	old.ModTime = time.Unix(-1000, 0)
	var layers []deploy.Layer
	for n, entries := range [][]tar.Header{
		{
			dir("."), dir("usr"), dir("etc"), dir("etc/hidden"), file("etc/hidden/a"), dir("etc/opaque"), file("etc/opaque/a"), file("etc/b"),
			file("usr/a"), entry(tar.TypeLink, "usr/again", "usr/a"), entry(tar.TypeSymlink, "bin", "usr"), entry(tar.TypeSymlink, "usr/up", "../../etc"),
			ping, old, null, entry(tar.TypeFifo, "fifo", ""), file("implied/a"),
		},
		{file("etc/.wh.hidden"), dir("etc/opaque"), file("etc/opaque/.wh..wh..opq"), file("etc/opaque/c"), file("etc/b")},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for i, h := range entries {
			must(t, w.WriteHeader(&h))
			_, err := w.Write([]byte{byte('a' + i), byte('0' + n)}[:h.Size])
			must(t, err)
		}
		must(t, w.Close())
		layers = append(layers, deploy.LayerOf(b.Bytes()))
	}
	return layers
}

// What other tools export has the same tree, but for what they cannot do.
func TestOthersExportTheSameTree(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, who can give files to others")
	}
	layers := ordinary(t)
	image := filepath.Join(t.TempDir(), "image.tar")
	must(t, os.WriteFile(image, saved(t, layers), 0o644))
	lines := func(tree string) []string { // the last one has all names and contents
		n := strings.LastIndex(tree, "\n")
		return append(strings.Split(tree[:n], "\n"), strings.Split(tree[n+1:], " ")...)
	}
	ours := lines(deploy.Tree(t, deploy.Options{Epoch: time.Unix(5, 0)}, layers...))
	for tool, c := range map[string]struct {
		script string
		differ []string
	}{
		"crane": {script: "crane export - out.tar < $IMAGE", differ: []string{
			"implied 40755 0:0 5.000000000 dir",        // no entry: it has the time of its extraction
			"usr 40755 3:4 1700000000.000000000 dir",   // others come between its entry and its files: GNU tar has set its time by then
			"usr/up 120777 3:4 1700000000.000000000 9", // a link that leads out of the root is left out
			"usr/up->../../etc",
		}},
		"podman": {script: `run=$(mktemp -d -p /tmp) # a short name: podman refuses more than 50 characters
			p="podman --storage-driver overlay --root $PWD/root --runroot $run"
			trap '$p rm -f a >/dev/null; umount root/overlay 2>/dev/null; rm -rf $run' EXIT
			$p load -q -i $IMAGE && $p create --name a localhost/a:1 && $p export -o out.tar a`, differ: []string{
			". 40755 3:4 1700000000.000000000 dir",   // the archive of podman has no entry
			"etc 40755 3:4 1700000000.000000000 dir", // the layer above has no entry for it: podman sets no time
			"implied 40755 0:0 5.000000000 dir",      // no layer has an entry
			"usr/old 100755 3:4 -1000.000000000 1",   // no times before 1970, and whole seconds only
			`usr/ping 100755 3:4 1700000000.500000000 1 security.capability="\x01\x00\x00\x02\x00 \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"`,
		}},
	} {
		t.Run(tool, func(t *testing.T) {
			if _, err := exec.LookPath(tool); err != nil {
				t.Skip(err)
			}
			dir := t.TempDir()
			cmd := exec.Command("sh", "-c", c.script+" && mkdir out && tar --xattrs --xattrs-include='*' -xpf out.tar -C out")
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "IMAGE="+image)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			theirs := lines(deploy.TreeIn(t, filepath.Join(dir, "out")))
			var differ []string
			for _, line := range ours {
				if !slices.Contains(theirs, line) {
					differ = append(differ, line)
				}
			}
			if len(theirs) > len(ours) {
				t.Errorf("there are %q, want %q", theirs, ours)
			}
			if !slices.Equal(differ, c.differ) {
				t.Errorf("these lines differ:\n%s\nwant\n%s", strings.Join(differ, "\n"), strings.Join(c.differ, "\n"))
			}
		})
	}
}
