package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

func TestAnArchiveIsAnImage(t *testing.T) {
	low, high := t.TempDir(), t.TempDir()
	write(t, low+"/a", "low")
	write(t, high+"/a", "high")
	setTime(t, low, epoch)
	setTime(t, high, epoch)
	img := testImage(Compression{})
	img.Platform.Variant = "v3"
	img.Config = v1.ImageConfig{Cmd: []string{"sh"}, StopSignal: "SIGINT"}
	img.Annotations = map[string]string{"a": "b"}
	c := read(t, pack(t, img, low, high, low))

	names := []string{"oci-layout", "blobs/", "blobs/sha256/"}
	for _, d := range []v1.Descriptor{c.manifest.Layers[0], c.manifest.Layers[1], c.manifest.Config} {
		names = append(names, "blobs/sha256/"+d.Digest.Encoded())
	}
	if got := slices.Delete(slices.Clone(c.names), 6, 7); !slices.Equal(got, append(names, "index.json")) {
		t.Errorf("the archive has %q, without the manifest want %q", got, names)
	}
	for _, h := range c.headers {
		if !h.ModTime.Equal(epoch) || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || len(h.PAXRecords) > 0 {
			t.Errorf("%s has a time, an owner or records of its own: %+v", h.Name, h)
		}
	}
	if c.manifest.Layers[2].Digest != c.manifest.Layers[0].Digest || c.manifest.Layers[1].Digest == c.manifest.Layers[0].Digest {
		t.Errorf("layers are %v", c.manifest.Layers)
	}
	for i, want := range []string{"3 bytes", "4 bytes", "3 bytes"} {
		if got := lines(t, c.layer(t, i)); len(got) != 2 || !strings.HasSuffix(got[1], want) {
			t.Errorf("layer %d has %q, want a file of %s", i, got, want)
		}
	}
	if len(c.config.History) != 3 || c.config.History[1].CreatedBy != "/bin/sh -c #(nop) osbuild input 'layer.1'" || !c.config.History[1].Created.Equal(epoch) {
		t.Errorf("history is %+v", c.config.History)
	}
	if !c.config.Created.Equal(epoch) || c.config.Variant != "v3" || c.config.Config.StopSignal != "SIGINT" || c.manifest.Annotations["a"] != "b" {
		t.Errorf("config is %+v, annotations %v", c.config, c.manifest.Annotations)
	}
}

func TestWhereTheArchiveIsWritten(t *testing.T) {
	outside := t.TempDir()
	for _, test := range []struct{ name, file, err string }{
		{"plain", "x.tar", ""},
		{"in a directory", "d/x.tar", ""},
		{"from the root", "/d/x.tar", ""},
		{"through a link", "in/x.tar", ""},
		{"in the place of a file", "old", ""},
		{"in the place of a link that leads out", "out", ""},
		{"nothing", "", `create archive "": not a file name`},
		{"a slash", "d/", `create archive "d/": not a file name`},
		{"nul", "a\x00b", `create archive "a\x00b": not a file name`},
		{"up", "..", `create archive "..": not a file name`},
		{"up and down", "d/../../x", `create archive "d/../../x": path must stay in the tree, but has ".." in it: "d/../../"`},
		{"no directory", "no/x", `create archive "no/x": no/ in the tree: open directory "no": no such file or directory`},
		{"a file as directory", "old/x", `create archive "old/x": old/ in the tree: "old" is not a directory`},
		{"a link out as directory", "out/x", fmt.Sprintf(`create archive "out/x": out/ in the tree: open directory %q: no such file or directory`, strings.Split(outside, "/")[1])},
		{"a directory", "d", `create archive "d": is a directory`},
		{"too long", strings.Repeat("n", 256), `finish archive "` + strings.Repeat("n", 256) + `": file name too long`},
	} {
		t.Run(test.name, func(t *testing.T) {
			root, tree := t.TempDir(), t.TempDir()
			must(t, os.Mkdir(root+"/d", 0o755))
			must(t, os.Symlink("/d", root+"/in"))
			must(t, os.Symlink(outside, root+"/out"))
			write(t, root+"/old", "old")
			err := Archive(context.Background(), root, test.file, []Layer{{"base", tree}}, testImage(Compression{}), t.Logf)
			if got := message(err); got != test.err {
				t.Fatalf("got  %s\nwant %s", got, test.err)
			}
			if test.err == "" {
				at := strings.Replace(test.file, "in/", "d/", 1)
				if fi, err := os.Lstat(filepath.Join(root, at)); err != nil || !fi.Mode().IsRegular() || fi.Size() < 4096 {
					t.Errorf("no archive at %s: %v", at, err)
				}
			}
			checkNames(t, outside)
			left := []string{"d", "in", "old", "out"}
			if test.file == "x.tar" {
				left = append(left, "x.tar")
			}
			checkNames(t, root, left...)
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// checkNames fails the test unless a directory has exactly these names.
func checkNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("there is %q, want %q", got, want)
	}
}

func TestAFailureLeavesWhatWasThere(t *testing.T) {
	tree := t.TempDir()
	write(t, tree+"/f", "f")
	stopped, stop := context.WithCancel(context.Background())
	stop()
	for _, test := range []struct {
		ctx    context.Context
		layers []Layer
		c      Compression
		want   string
	}{
		{stopped, []Layer{{"base", tree}}, Compression{}, "layer 1/1 base: context canceled"},
		{context.Background(), []Layer{{"base", tree}, {"layer.1", "/no/such"}}, Compression{}, `layer 2/2 layer.1: open tree "/no/such": no such file or directory`},
		{context.Background(), []Layer{{"base", tree}}, Compression{Format: "xz"}, `compression "xz" is not known: use gzip, zstd or none`},
		{context.Background(), []Layer{{"base", tree}}, Compression{Format: "gzip", Level: 10}, "level 10 of gzip is not between 1 and 9"},
		{context.Background(), []Layer{{"base", tree}}, Compression{Format: "zstd", Level: -1}, "level -1 of zstd is not between 1 and 22"},
		{context.Background(), []Layer{{"base", tree}}, Compression{Format: "none", Level: 1}, "compression none has no level, but 1 is given"},
	} {
		root := t.TempDir()
		write(t, root+"/image.tar", "old")
		if got := message(Archive(test.ctx, root, "image.tar", test.layers, testImage(test.c), t.Logf)); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
		checkNames(t, root, "image.tar")
		if b, err := os.ReadFile(root + "/image.tar"); string(b) != "old" {
			t.Errorf("the old archive is now %q, %v", b, err)
		}
	}
}

// disk returns a directory with limited space, and leaves no other writable place.
func disk(t *testing.T, size string) string {
	t.Helper()
	mustBeRoot(t)
	root := t.TempDir()
	must(t, unix.Mount("none", root, "tmpfs", 0, "size="+size))
	t.Cleanup(func() { must(t, unix.Unmount(root, 0)) })
	t.Setenv("TMPDIR", "/no/such/directory")
	return root
}

func TestAFullDiskIsAnError(t *testing.T) {
	tree := t.TempDir()
	must(t, os.WriteFile(tree+"/noise", noise(20<<20, 8, 1), 0o644))
	root := disk(t, "1m")
	err := Archive(context.Background(), root, "image.tar", []Layer{{"base", tree}}, testImage(Compression{}), t.Logf)
	if !errors.Is(err, unix.ENOSPC) || !strings.HasPrefix(err.Error(), "layer 1/1 base: ") {
		t.Errorf("got %v, want no space left", err)
	}
	checkNames(t, root)
}

// A disk with space for the archive suffices: nothing is stored uncompressed.
func TestTheDiskHoldsTheArchiveOnly(t *testing.T) {
	tree := t.TempDir()
	must(t, os.WriteFile(tree+"/text", bytes.Repeat([]byte("again and again\n"), 2<<20), 0o644))
	root := disk(t, "1m")
	for _, c := range []Compression{{}, {Format: "zstd"}} {
		must(t, Archive(context.Background(), root, "image.tar", []Layer{{"base", tree}, {"layer.1", tree}}, testImage(c), t.Logf))
	}
}
