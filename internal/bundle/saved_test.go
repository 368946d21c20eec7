package bundle

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/ocilayout"
	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
)

// plain returns an image with uncompressed layers, as docker saves them.
func plain(seed uint64, sizes ...int64) *images.Image {
	opts := []images.Option{images.Docker(), images.Seed(seed)}
	for _, size := range sizes {
		opts = append(opts, images.LayerAs(images.Plain, size))
	}
	return images.New(opts...)
}

func zipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Bytes()
}

// saved returns the files that docker save writes for an image.
func saved(img *images.Image, pack func([]byte) []byte, names ...string) []file {
	var layers []string
	files := []file{{img.ID.Encoded() + ".json", img.Config}}
	for n, l := range img.Layers {
		name := fmt.Sprintf("%d/layer.tar", n)
		layers = append(layers, name)
		files = append(files, file{name, pack(l.Blob)})
	}
	return append(files, file{"manifest.json", toJSON([]map[string]any{
		{"Config": img.ID.Encoded() + ".json", "RepoTags": names, "Layers": layers},
	})})
}

func asIs(data []byte) []byte { return data }

func TestDockerSave(t *testing.T) {
	img := plain(1, 100_000, 3000)
	var ids []digest.Digest
	for _, l := range img.Layers {
		ids = append(ids, l.DiffID)
	}
	for name, pack := range map[string]func([]byte) []byte{"plain": asIs, "gzip": zipped} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := write(t, saved(img, pack, "app:1")...)
			r := only(t, bring(t, dir, path))
			if r.State != Added || r.ID != img.ID || !slices.Equal(r.Names, []string{"docker.io/library/app:1"}) {
				t.Errorf("%+v", r)
			}
			raw := wantImage(t, dir, img.ID)
			m, err := parseImage(raw, img.ID)
			must(t, err)
			for n, l := range m.Layers {
				if l.Digest != ids[n] {
					t.Errorf("layer %d is %s, not the one of the config", n, l.Digest)
				}
			}
			pub, err := cache.Open(dir).OpenImage(img.ID)
			must(t, err)
			defer pub.Close()
			o, err := pub.Origins()
			must(t, err)
			if len(o) != 1 || o[0].Transport != "docker-archive" || o[0].From != path || o[0].Digest != r.Manifest {
				t.Errorf("recorded is %+v", o)
			}
			if r := only(t, bring(t, dir, path)); r.State != Cached || r.Bytes != 0 {
				t.Errorf("once more: %+v", r)
			}
		})
	}
}

// TestDuplicateFilesAreReadOnce imports a layer with many names, and checks that it is read only once.
func TestDuplicateFilesAreReadOnce(t *testing.T) {
	dir := t.TempDir()
	layer := zipped([]byte("a layer"))
	must(t, os.WriteFile(filepath.Join(dir, "0"), layer, 0o644))
	for n := range 5 {
		must(t, os.Symlink(fmt.Sprint(n), filepath.Join(dir, fmt.Sprint(n+1))))
	}
	tree, err := ocilayout.OpenTree(t.Context(), dir)
	must(t, err)
	defer tree.Close()
	l := newLayers(tree)
	l.left = int64(len("a layer"))
	want := digest.FromString("a layer")
	for n := range 6 {
		if d, err := l.describe(t.Context(), fmt.Sprint(n), want); err != nil || d.Digest != want || l.left != 0 {
			t.Errorf("%d: %+v, %v, %d bytes left", n, d, err, l.left)
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, "other"), zipped([]byte("x")), 0o644))
	if _, err := l.read(t.Context(), "other"); err == nil || !strings.Contains(err.Error(), "more than the limit of") {
		t.Errorf("beyond the limit: %v", err)
	}
}

// An image cached from a registry is kept, since it may be the pinned one.
func TestDockerSaveLeavesWhatARegistryServed(t *testing.T) {
	img := plain(1, 1000)
	other := images.New(images.Docker(), images.ConfigBytes(img.Config), images.Use(images.LayerInfo{
		Digest: digest.FromBytes(zipped(img.Layers[0].Blob)), DiffID: img.Layers[0].DiffID, Size: int64(len(zipped(img.Layers[0].Blob))), Blob: zipped(img.Layers[0].Blob),
		MediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip",
	}))
	if other.ID != img.ID {
		t.Fatal("two images")
	}
	dir := t.TempDir()
	bring(t, dir, write(t, layoutOf([]map[string]any{entry(other.Raw, other.MediaType, "")}, blobsOf(other)...)...))
	r := only(t, bring(t, dir, write(t, saved(img, asIs)...)))
	if r.State != Cached || r.Manifest != other.Digest {
		t.Errorf("%+v", r)
	}
	if got := digest.FromBytes(wantImage(t, dir, img.ID)); got != other.Digest {
		t.Errorf("the manifest is %s now", got)
	}
}

// oldSave returns the files that docker before 1.10 saved: a chain of two layers.
func oldSave(img *images.Image, repositories string) []file {
	base, top := strings.Repeat("a", 64), strings.Repeat("b", 64)
	config := func(id, parent string) []byte {
		return toJSON(map[string]any{
			"id": id, "parent": parent, "created": "2015-01-01T00:00:00Z", "architecture": "amd64", "os": "linux",
			"container_config": map[string]any{"Cmd": []string{"/bin/sh", "-c", id[:3]}}, "config": map[string]any{"Cmd": []string{"/bin/sh"}},
		})
	}
	files := []file{
		{base + "/VERSION", []byte("1.0")},
		{base + "/json", config(base, "")},
		{base + "/layer.tar", img.Layers[0].Blob},
		{top + "/json", config(top, base)},
		{top + "/layer.tar", img.Layers[1].Blob},
	}
	if repositories != "" {
		files = append(files, file{"repositories", []byte(strings.ReplaceAll(repositories, "TOP", top))})
	}
	return files
}

func TestDockerSaveBeforeManifests(t *testing.T) {
	img := plain(2, 5000, 3000)
	dir := t.TempDir()
	r := only(t, bring(t, dir, write(t, oldSave(img, `{"registry.example.com/old/app": {"1": "TOP"}}`)...)))
	if r.State != Added || !slices.Equal(r.Names, []string{"registry.example.com/old/app:1"}) {
		t.Fatalf("%+v", r)
	}
	pub, err := cache.Open(dir).OpenImage(r.ID)
	must(t, err)
	defer pub.Close()
	m, err := parseImage(wantImage(t, dir, r.ID), r.ID)
	must(t, err)
	raw, err := pub.Config(m.Config)
	must(t, err)
	var config struct {
		Architecture string
		Config       struct{ Cmd []string }
		RootFS       struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		}
		History []json.RawMessage
	}
	must(t, json.Unmarshal(raw, &config))
	want := []digest.Digest{img.Layers[0].DiffID, img.Layers[1].DiffID}
	if config.Architecture != "amd64" || !slices.Equal(config.RootFS.DiffIDs, want) || len(config.History) != 2 || len(config.Config.Cmd) != 1 {
		t.Errorf("its config is %s", raw)
	}
	if again := only(t, bring(t, dir, write(t, oldSave(img, "")...))); again.ID != r.ID || again.State != Cached {
		t.Errorf("without names: %+v", again)
	}
}

// TestSkopeoWrites reads what skopeo writes for docker load.
func TestSkopeoWrites(t *testing.T) {
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("skopeo is not installed")
	}
	img := images.New(images.Layer(50_000), images.Layer(2000))
	dir := t.TempDir()
	inputs.WriteDir(t, filepath.Join(dir, "dir"), img)
	path := filepath.Join(dir, "saved.tar")
	out, err := exec.CommandContext(t.Context(), skopeo, "copy", "-q", "dir:"+filepath.Join(dir, "dir"), "docker-archive:"+path+":example.com/app:2").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	into := filepath.Join(dir, "cache")
	r := only(t, bring(t, into, path))
	if r.State != Added || !slices.Equal(r.Names, []string{"example.com/app:2"}) {
		t.Errorf("%+v", r)
	}
	wantImage(t, into, r.ID)
	if _, err := os.Stat(filepath.Join(into, "org.osbuild.containers", r.ID.String(), "image", "version")); err != nil {
		t.Error(err)
	}
}
