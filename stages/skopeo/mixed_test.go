package skopeo

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"osbuild-containers/internal/ocilayout"
	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
)

// mixed returns images whose manifest, config and layers have media types of both families.
func mixed() map[string]*images.Image {
	config := func(media any) images.Option {
		return images.Edit(func(m map[string]any) {
			m["config"].(map[string]any)["mediaType"] = media
			m["annotations"] = map[string]string{"kept": "yes"}
		})
	}
	layers := func(media any) images.Option {
		return images.Edit(func(m map[string]any) {
			for _, l := range m["layers"].([]any) {
				l.(map[string]any)["mediaType"] = media
			}
		})
	}
	nameless := images.Edit(func(m map[string]any) { delete(m, "mediaType") })
	return map[string]*images.Image{
		"OCI with Docker's config":             small(1, config(images.DockerConfig)),
		"OCI with Docker's layers":             small(2, layers(images.DockerLayer+".gzip")),
		"OCI with both of Docker's":            small(3, config(images.DockerConfig), layers(images.DockerLayer+".gzip")),
		"Docker with OCI's config":             small(4, images.Docker(), config(images.OCIConfig)),
		"Docker with OCI's layers":             small(5, images.Docker(), layers(images.OCILayer+"+gzip")),
		"Docker with both of OCI's":            small(6, images.Docker(), config(images.OCIConfig), layers(images.OCILayer+"+gzip")),
		"no type, OCI's config, other layers":  small(7, nameless, layers(images.DockerLayer+".gzip")),
		"no type, Docker's config, OCI layers": small(8, nameless, config(images.DockerConfig)),
		"no type, all of Docker's":             small(9, images.Docker(), nameless),
		"Docker with zstd":                     small(10, images.Docker(), layers("application/vnd.docker.image.rootfs.diff.tar.zstd")),
		"a config without a type":              small(11, config("")),
	}
}

// TestStoragesThatPodmanCannotReadAreNotWritten has podman read each storage: one image that it cannot read makes it fail on all.
// A refused image leaves nothing.
func TestStoragesThatPodmanCannotReadAreNotWritten(t *testing.T) {
	none, err := podman(t, t.TempDir(), "vfs", "$podman images")
	runs := err == nil
	if !runs {
		t.Logf("podman does not run here: %v: %s", err, none)
	}
	refused := 0
	for name, img := range mixed() {
		a := inputs.New(t)
		a.Dir(t, "localhost/fine:v1", small(20))
		a.Dir(t, "localhost/x:v1", img)
		a.Options = storageOptions("vfs")
		code, log := call(t, a)
		if code != 0 {
			refused++
			if left, _ := os.ReadDir(rootOf(a)); len(left) > 0 || !strings.Contains(log, `image "localhost/x:v1": podman could not read it from a containers storage: `) {
				t.Errorf("%s: exit status %d, %v is there: %s", name, code, left, log)
			}
			continue
		}
		if out, err := podman(t, rootOf(a), "vfs", "$podman images && $podman image inspect localhost/x:v1"); runs && err != nil {
			t.Errorf("%s: podman: %v: %s", name, err, out)
		}
	}
	if refused == 0 {
		t.Error("nothing is refused")
	}
}

// TestLayoutsHaveMediaTypesOfOneKind checks that a layout has OCI's media types, and that the rest is unchanged.
func TestLayoutsHaveMediaTypesOfOneKind(t *testing.T) {
	for name, img := range mixed() {
		a := inputs.New(t)
		a.Dir(t, "localhost/x", img)
		a.Options = to(toArchive, "/x.tar")
		succeed(t, a)
		got, err := ocilayout.OpenArchive(filepath.Join(a.Tree, "x.tar"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var m struct {
			MediaType   string
			Annotations map[string]string
		}
		if err := json.Unmarshal(got.Raw(), &m); err != nil {
			t.Fatal(err)
		}
		wrong := got.Manifest().Config.MediaType != images.OCIConfig || m.MediaType != images.OCIManifest
		wrong = wrong || strings.Contains(string(img.Raw), `"kept"`) && m.Annotations["kept"] != "yes"
		for i, l := range got.Manifest().Layers {
			wrong = wrong || !strings.HasPrefix(l.MediaType, images.OCILayer) || l.Digest != img.Layers[i].Digest
		}
		if wrong || got.Manifest().Config.Digest != img.ID {
			t.Errorf("%s: %s became %s", name, img.Raw, got.Raw())
		}
		got.Close()
	}
}
