package bundle

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/cache"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// exported is a bundle, as an archive and as a directory, with a list of two images, a single image, and a Docker image.
type exported struct {
	dir, archive, layout      string
	list                      *images.List
	arm, alone, docker        *images.Image
	listed, single, dockerOne string // their names
}

func newExported(t *testing.T) *exported {
	t.Helper()
	dir := t.TempDir()
	x := &exported{
		dir: dir, archive: filepath.Join(dir, "b.tar"), layout: filepath.Join(dir, "b"),
		arm: images.New(images.Arch("arm64"), images.Layer(2000)), alone: images.New(images.Seed(5), images.Layer(3000)),
		docker: images.New(images.Docker(), images.Seed(6), images.Layer(3000)),
		listed: "example.com/app:1", single: "example.com/alone:2", dockerOne: "example.com/docker:3",
	}
	amd := images.New(images.Layer(2000))
	x.list = images.NewList(images.Of(amd, x.arm))
	in := layoutOf([]map[string]any{
		entry(x.list.Raw, v1.MediaTypeImageIndex, x.listed), entry(x.alone.Raw, x.alone.MediaType, x.single), entry(x.docker.Raw, x.docker.MediaType, x.dockerOne),
	}, x.list.Raw)
	for _, img := range []*images.Image{amd, x.arm, x.alone, x.docker} {
		for _, b := range blobsOf(img) {
			in = append(in, file{"blobs/sha256/" + digest.FromBytes(b).Encoded(), b})
		}
	}
	bring(t, dir, write(t, in...))
	named := func(name string, img *images.Image, d digest.Digest) Wanted {
		return Wanted{ID: img.ID, Manifest: img.Digest, Names: []Name{{name, d}}}
	}
	all := []Wanted{
		named(x.listed, amd, x.list.Digest), named(x.listed, x.arm, x.list.Digest),
		named(x.single, x.alone, x.alone.Digest), named(x.dockerOne, x.docker, x.docker.Digest),
	}
	all[0].Lists, all[1].Lists = []digest.Digest{x.list.Digest}, []digest.Digest{x.list.Digest}
	b, err := New(cache.Open(dir), all, nil)
	must(t, err)
	defer b.Close()
	must(t, b.Write(t.Context(), Output{Path: x.archive, Format: FormatArchive}, nil))
	must(t, b.Write(t.Context(), Output{Path: x.layout, Format: FormatOCI}, nil))
	return x
}

// peer runs a tool, if installed, and returns its output.
func peer(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestOthersReadBundles(t *testing.T) {
	x := newExported(t)
	t.Run("skopeo", func(t *testing.T) {
		for _, from := range []string{"oci-archive:" + x.archive, "oci:" + x.layout} {
			if got := peer(t, x.dir, "skopeo", "inspect", "--raw", from+":"+x.listed); digest.FromString(got) != x.list.Digest {
				t.Errorf("the list is %s", got)
			}
			for name, img := range map[string]*images.Image{x.listed: x.arm, x.single: x.alone} {
				out := t.TempDir()
				peer(t, x.dir, "skopeo", "--override-arch", "arm64", "copy", "-q", "--preserve-digests", from+":"+name, "dir:"+out)
				raw, err := os.ReadFile(filepath.Join(out, "manifest.json"))
				must(t, err)
				if digest.FromBytes(raw) != img.Digest {
					t.Errorf("%s is %s", name, raw)
				}
			}
		}
	})
	pinned := map[string]digest.Digest{"list": x.list.Digest, "image": x.alone.Digest, "docker": x.docker.Digest}
	t.Run("oras", func(t *testing.T) {
		for what, d := range pinned {
			if got := peer(t, x.dir, "oras", "manifest", "fetch", "--oci-layout", "./b@"+d.String(), "--descriptor"); !strings.Contains(got, d.String()) {
				t.Errorf("%s: %s", what, got)
			}
		}
	})
	t.Run("regctl", func(t *testing.T) {
		for what, d := range pinned {
			if got := peer(t, x.dir, "regctl", "manifest", "head", "ocidir://b@"+d.String()); got != d.String() {
				t.Errorf("%s: %s", what, got)
			}
		}
		out := filepath.Join(x.dir, "arm.tar")
		peer(t, x.dir, "regctl", "image", "export", "--platform", "linux/arm64", "ocidir://b@"+x.list.Digest.String(), out)
		into := t.TempDir()
		bring(t, into, out)
		wantImage(t, into, x.arm.ID)
	})
	t.Run("crane", func(t *testing.T) {
		reg := registry.Start(t)
		peer(t, x.dir, "crane", "push", "--insecure", "--index", "b", reg.Addr+"/all:1")
		for what, d := range pinned {
			if got := peer(t, x.dir, "crane", "digest", "--insecure", reg.Addr+"/all@"+d.String()); got != d.String() {
				t.Errorf("%s: %s", what, got)
			}
		}
		out := filepath.Join(x.dir, "crane.tar")
		peer(t, x.dir, "crane", "pull", "--insecure", reg.Addr+"/all@"+x.alone.Digest.String(), out)
		into := t.TempDir()
		if r := only(t, bring(t, into, out)); r.ID != x.alone.ID {
			t.Errorf("what crane writes is %+v", r)
		}
		wantImage(t, into, x.alone.ID)
	})
}
