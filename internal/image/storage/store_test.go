package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/hint"
	"osbuild-containers/test/userns"
)

// TestJoinStores pairs files of an image store and of the graph root with the content of the joined store.
func TestJoinStores(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, root, joined := filepath.Join(dir, "store"), filepath.Join(dir, "root"), filepath.Join(dir, "joined")
	put := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	put(store+"/overlay-images/images.json", "store")
	put(store+"/overlay-layers/layers.json", "store")
	put(store+"/overlay/1/link", "store")
	put(root+"/overlay-images/images.json", "root")
	put(root+"/overlay-layers/layers.json", "root")
	put(root+"/overlay-layers/1.tar-split.gz", "root")
	put(root+"/overlay/2/link", "root")
	put(root+"/overlay-containers/containers.json", "root")
	if err := joinStores(joined, store, root, "overlay"); err != nil {
		t.Fatal(err)
	}
	put(store+"/overlay-layers/layers.json", "store, written later")
	for name, want := range map[string]string{
		"overlay-images/images.json":         "store",
		"overlay-layers/layers.json":         "store, written later",
		"overlay-layers/1.tar-split.gz":      "root",
		"overlay/1/link":                     "store",
		"overlay/2/link":                     "",
		"overlay-containers/containers.json": "",
	} {
		got, err := os.ReadFile(filepath.Join(joined, name))
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
	if err := joinStores(filepath.Join(dir, "without"), store, filepath.Join(dir, "none"), "overlay"); err != nil {
		t.Errorf("without a graph root: %v", err)
	}
}

// TestAdditionalStoreOfAnother checks that an error for a missing image names additional image stores that the user cannot read.
func TestAdditionalStoreOfAnother(t *testing.T) {
	for own, want := range map[string]string{
		"none": "no containers storage at <top>/none: it holds no images (the additional image store <top>/root cannot be read: permission denied)",
		"gone": "no containers storage at <top>/gone: no such file or directory (the additional image store <top>/root cannot be read: permission denied)",
	} {
		t.Run(own, func(t *testing.T) { // in a separate process, since the library reads storage.conf once
			const env = "CONTAINERS_STORAGE_CONF"
			if !userns.Second() {
				if os.Geteuid() != 0 {
					t.Skip("only root can make files of another user")
				}
				top := t.TempDir()
				conf := filepath.Join(top, "storage.conf")
				text := fmt.Sprintf("[storage]\ndriver = 'vfs'\ngraphroot = '%s/%s'\n[storage.options]\nadditionalimagestores = ['%s/root']\n", top, own, top)
				if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				for path, mode := range map[string]os.FileMode{filepath.Dir(top): 0o755, top: 0o755, top + "/none": 0o755, top + "/root": 0o700} {
					if err := errors.Join(os.MkdirAll(path, 0o755), os.Chmod(path, mode)); err != nil {
						t.Fatal(err)
					}
				}
				userns.Inside(t, userns.Ordinary(), env+"="+conf)
				return
			}
			s, err := OpenStore("")
			if err == nil {
				err = errors.Join(s.Has(digest.FromString("x")), s.Close())
			}
			if want = strings.ReplaceAll(want, "<top>", filepath.Dir(os.Getenv(env))); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

// TestEnvironmentOfAnother checks the hints for a user whose environment is that of another one, as after su.
func TestEnvironmentOfAnother(t *testing.T) {
	const runtime = "XDG_RUNTIME_DIR must be a directory of this user: unset it, or log in as this user"
	for name, want := range map[string]string{
		"XDG_RUNTIME_DIR=<top>/closed": runtime,
		"XDG_RUNTIME_DIR=<top>/none":   runtime,
		"XDG_RUNTIME_DIR=<top>/file":   runtime,
		"HOME=<top>/closed":            "this user must be able to read <top>/closed/.config/containers/storage.conf",
	} {
		t.Run(name, func(t *testing.T) { // in a separate process, since the library reads the environment once
			const env = "TEST_TOP"
			if !userns.Second() {
				if os.Geteuid() != 0 {
					t.Skip("only root can make files of another user")
				}
				top := t.TempDir()
				if err := errors.Join(os.Mkdir(top+"/closed", 0o700), os.Mkdir(top+"/home", 0o755), os.WriteFile(top+"/file", nil, 0o644)); err != nil {
					t.Fatal(err)
				}
				for _, dir := range []string{filepath.Dir(top), top} {
					if err := os.Chmod(dir, 0o755); err != nil {
						t.Fatal(err)
					}
				}
				userns.Inside(t, userns.Ordinary(), env+"="+top, "HOME="+top+"/home", "XDG_RUNTIME_DIR=", "XDG_CONFIG_HOME=",
					strings.ReplaceAll(name, "<top>", top))
				return
			}
			_, err := OpenStore("")
			if got, want := hint.Of(err).Field, strings.ReplaceAll(want, "<top>", os.Getenv(env)); got != want {
				t.Errorf("%v: got the hint %q, want %q", err, got, want)
			}
		})
	}
}
