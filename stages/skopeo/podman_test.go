package skopeo

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
	"osbuild-containers/test/userns"
)

// podman runs a shell command in which $podman is podman with that storage. Its mounts end with the command.
func podman(t *testing.T, root, driver, command string) (string, error) {
	t.Helper()
	run, err := os.MkdirTemp("/tmp", "podman") //nolint:usetesting // podman refuses paths of more than 50 characters
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(run)
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-ec",
		`podman="podman --root $1 --runroot $2 --storage-driver $3"; `+command, "sh", root, run, driver)
	if userns.Second() { // as the user, in podman unshare's namespace
		cmd.Env = append(os.Environ(), "_CONTAINERS_USERNS_CONFIGURED=done", "_CONTAINERS_ROOTLESS_UID=1000", "_CONTAINERS_ROOTLESS_GID=1000", "XDG_RUNTIME_DIR="+run)
	}
	out, err := cmd.Output()
	if bad, ok := errors.AsType[*exec.ExitError](err); ok {
		out = append(out, bad.Stderr...)
	}
	for _, name := range []string{"libpod", "db.sql"} { // remembers the run root
		if err := os.RemoveAll(root + "/" + name); err != nil {
			t.Fatal(err)
		}
	}
	return strings.TrimSpace(string(out)), err
}

// TestPodmanReadsTheStorage compares what podman sees.
func TestPodmanReadsTheStorage(t *testing.T) {
	drivers(t, func(t *testing.T, driver string) {
		if out, err := podman(t, t.TempDir(), driver, "$podman images"); err != nil {
			t.Skipf("podman does not run here: %v: %s", err, out)
		}
		one, two, three := small(1), small(2, images.Arch("arm64")), small(3)
		list := images.NewList(images.Of(one, two))
		a := inputs.New(t)
		a.Dir(t, "localhost/one:v1", one)
		a.Dir(t, "two", two)
		a.Dir(t, "my.test/some/three", three)
		a.List(t, list)
		a.Options = storageOptions(driver)
		succeed(t, a)
		for name, want := range map[string]string{
			"localhost/one:v1":                     one.ID.Encoded() + " " + list.Digest.String() + " [localhost/one:v1]",
			"localhost/one@" + one.Digest.String(): one.ID.Encoded() + " " + list.Digest.String() + " [localhost/one:v1]",
			two.ID.Encoded():                       two.ID.Encoded() + " " + list.Digest.String() + " [docker.io/library/two:latest]",
			"my.test/some/three":                   three.ID.Encoded() + " " + three.Digest.String() + " [my.test/some/three:latest]",
		} {
			got, err := podman(t, rootOf(a), driver, "$podman image inspect "+name+" --format '{{.Id}} {{.Digest}} {{.RepoTags}}'")
			if err != nil || got != want {
				t.Errorf("%s: podman says %s, %v, want %s", name, got, err, want)
			}
		}
		names, err := podman(t, rootOf(a), driver, "$podman images --format '{{.Repository}}:{{.Tag}}' | sort")
		if err != nil || names != "docker.io/library/two:latest\nlocalhost/one:v1\nmy.test/some/three:latest" {
			t.Errorf("podman has %s, %v", names, err)
		}
		content, err := podman(t, rootOf(a), driver, `cat "$($podman image mount localhost/one:v1)/etc/deep/er/file"`)
		if err != nil || content != "x" {
			t.Errorf("the file is %q, %v", content, err)
		}
	})
}

// TestPodmanHidesWhatLayersRemove mounts an image with whiteouts and opaque directories, which overlay storages store differently
// for root and for an ordinary user.
func TestPodmanHidesWhatLayersRemove(t *testing.T) {
	drivers(t, func(t *testing.T, driver string) {
		if out, err := podman(t, t.TempDir(), driver, "$podman images"); err != nil {
			t.Skipf("podman does not run here: %v: %s", err, out)
		}
		a := inputs.New(t)
		a.Dir(t, "localhost/one:v1", images.New(
			images.Files(images.File{Name: "gone"}, images.File{Name: "kept"}, images.File{Name: "opaque/lower"}, images.File{Name: "replaced/lower"}, images.File{Name: "deep/opaque/lower"}),
			images.Files(
				images.File{Name: ".wh.gone"}, images.File{Name: "opaque/"}, images.File{Name: "opaque/.wh..wh..opq"}, images.File{Name: "opaque/upper"},
				images.File{Name: "deep/"}, images.File{Name: "deep/opaque/"}, images.File{Name: "deep/opaque/.wh..wh..opq"}, images.File{Name: ".wh.replaced"},
			),
		))
		a.Options = storageOptions(driver)
		succeed(t, a)
		got, err := podman(t, rootOf(a), driver, `cd "$($podman image mount localhost/one:v1)"; find . -type f | sort | xargs echo`)
		if want := "./kept ./opaque/upper"; err != nil || got != want {
			t.Errorf("podman has %s, %v, want %s", got, err, want)
		}
	})
}
