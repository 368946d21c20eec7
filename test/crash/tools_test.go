package crash_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/test/images"
)

// tool runs a program, if installed, and returns its output.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = environ(t)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// published fetches an image.
func published(t *testing.T, options ...images.Option) (cache string, img *images.Image) {
	t.Helper()
	img = images.New(append(options, images.Layer(100_000), images.LayerAs(images.Plain, 2000))...)
	_, name := serve(t, img)
	cache = newCache(t)
	fetch(t, skopeo, request(cache, name, img))
	return cache, img
}

func TestSkopeoReadsWhatWePublish(t *testing.T) {
	for name, options := range map[string][]images.Option{"oci": nil, "docker": {images.Docker()}} {
		t.Run(name, func(t *testing.T) {
			cache, img := published(t, options...)
			ref := "dir:" + imagePath(cache, img)
			var seen struct {
				Digest digest.Digest
				Layers []digest.Digest
			}
			must(t, json.Unmarshal([]byte(tool(t, "skopeo", "inspect", ref)), &seen))
			if seen.Digest != img.Digest || len(seen.Layers) != 2 || seen.Layers[0] != img.Layers[0].Digest {
				t.Errorf("skopeo sees %+v", seen)
			}
			out := filepath.Join(t.TempDir(), "out")
			tool(t, "skopeo", "copy", ref, "oci:"+out+":tag")
			must(t, wantFile(filepath.Join(out, "blobs", "sha256", img.Layers[0].Digest.Encoded()), img.Layers[0].Digest))
			copied := filepath.Join(t.TempDir(), "copied")
			tool(t, "skopeo", "copy", "--preserve-digests", ref, "dir:"+copied)
			must(t, wantFile(filepath.Join(copied, "manifest.json"), img.Digest))
		})
	}
}

func TestPodmanReadsWhatWePublish(t *testing.T) {
	needRoot(t)
	cache, img := published(t)
	store, err := os.MkdirTemp("/tmp", "podman") //nolint:usetesting // podman refuses paths of more than 50 characters
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(store) })
	podman := func(args ...string) string {
		return tool(t, "podman", append([]string{"--root", filepath.Join(store, "root"), "--runroot", filepath.Join(store, "run"), "--storage-driver", "vfs"}, args...)...)
	}
	podman("pull", "--quiet", "dir:"+imagePath(cache, img))
	var seen []struct{ ID string }
	must(t, json.Unmarshal([]byte(podman("images", "--no-trunc", "--format", "json")), &seen))
	if len(seen) != 1 || seen[0].ID != img.ID.Encoded() {
		t.Errorf("podman sees %+v", seen)
	}
}

// What skopeo writes for osbuild's own source is a hit, and if it is incomplete, what it has is used.
func TestImageOfSkopeoIsUsed(t *testing.T) {
	img := images.New(images.Layer(500_000), images.Layer(2000))
	f, name := serve(t, img)
	cache := newCache(t)
	must(t, os.MkdirAll(filepath.Dir(imagePath(cache, img)), 0o755))
	tool(t, "skopeo", "copy", "--src-tls-verify=false", "docker://"+name+"@"+img.Digest.String(), "dir:"+imagePath(cache, img))
	f.Reset()
	if !fetch(t, skopeo, request(cache, name, img)).Results[0].Metadata.Cached || len(f.Requests()) > 0 {
		t.Error("it is not found")
	}
	must(t, checkImage(cache, img))

	must(t, os.Remove(filepath.Join(imagePath(cache, img), img.Layers[1].Digest.Encoded())))
	fetch(t, skopeo, request(cache, name, img))
	if sent := f.BytesSent("/blobs/"); sent != img.Layers[1].Size {
		t.Errorf("%d bytes were sent, want the %d of the layer that is missing", sent, img.Layers[1].Size)
	}
	wantAll(t, cache, img)
}

// A cache copied without its pool and hard links works.
func TestCacheCanBeCopiedWithoutThePool(t *testing.T) {
	cache, img := published(t)
	other := newCache(t)
	copyTree(t, imagePath(cache, img), imagePath(other, img))
	if !fetch(t, skopeo, request(other, "127.0.0.1:1/name", img)).Results[0].Metadata.Cached {
		t.Error("it is not found")
	}
	req := request(cache, "127.0.0.1:1/name", img)
	req["method"], req["dst_cache"] = "copy", filepath.Join(t.TempDir(), "third")
	fetch(t, skopeo, req)
	wantAll(t, req["dst_cache"].(string), img)
}
