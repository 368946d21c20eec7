package fetch

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/request"
	"osbuild-containers/test/images"
	"osbuild-containers/test/store"
)

// storedImage has layers of all compressions, and one layer twice.
var storedImage = func() *images.Image {
	twice := images.New(images.Layer(300)).Layers
	return images.New(images.Use(twice...), images.Layer(100_000), images.LayerAs(images.Plain, 2000), images.LayerAs(images.Zstd, 3000), images.Arch("s390x"))
}()

// storedItem pins an image in a store.
func storedItem(img *images.Image, s *store.Store) request.Item {
	it := itemOf(img, "localhost/name:v1")
	it.Image.Transport, it.Image.StorageLocation = request.ContainersStorage, s.Root
	return it
}

// hasUnpacked fails the test unless the image is published with uncompressed layers that match the diff IDs in the config.
func (w *world) hasUnpacked(img *images.Image) {
	w.t.Helper()
	files := w.published(img.ID)
	if string(files[img.ID.Encoded()]) != string(img.Config) {
		w.t.Errorf("the config is %.80q", files[img.ID.Encoded()])
	}
	var m struct {
		Config struct{ Digest digest.Digest }
		Layers []struct {
			MediaType string
			Digest    digest.Digest
			Size      int64
		}
	}
	if err := json.Unmarshal(files["manifest.json"], &m); err != nil || m.Config.Digest != img.ID || len(m.Layers) != len(img.Layers) {
		w.t.Fatalf("the manifest is %s (%v)", files["manifest.json"], err)
	}
	for i, l := range m.Layers {
		content := files[l.Digest.Encoded()]
		if l.Digest != img.Layers[i].DiffID || digest.FromBytes(content) != l.Digest || int64(len(content)) != l.Size || !strings.HasSuffix(l.MediaType, ".tar") {
			w.t.Errorf("layer %d is %+v with %d bytes, want %s", i, l, len(content), img.Layers[i].DiffID)
		}
	}
}

// tree describes a directory, with everything that would show a change.
func tree(t testing.TB, root string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := os.Lstat(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "%s %s %d %s", path, fi.Mode(), fi.Size(), fi.ModTime())
		if fi.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, " %x", sha256.Sum256(content))
		}
		fmt.Fprintln(&out)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func mounts(t testing.TB) string {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// untouched fails the test if a job changes the store or leaves files behind.
func untouched(w *world, s *store.Store, job func()) {
	w.t.Helper()
	before, mounted := tree(w.t, s.Root), strings.Count(mounts(w.t), s.Root)
	job()
	if after := tree(w.t, s.Root); after != before {
		w.t.Errorf("the store was changed:\n%s\nit was:\n%s", after, before)
	}
	if now := mounts(w.t); strings.Count(now, s.Root) != mounted || strings.Contains(now, w.home) {
		w.t.Errorf("a mount is left:\n%s", now)
	}
	if left, _ := os.ReadDir(filepath.Join(w.home, "tmp")); len(left) > 0 {
		w.t.Errorf("left in the directory for temporary files: %v", left)
	}
}

// TestFromStorage reads images from stores of both drivers, at paths with all characters that are special to the library, and
// again from the cache.
func TestFromStorage(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"vfs", "overlay"} {
		for kind, name := range map[string]string{"plain": "plain", "strange": `a b:c+d]e[f,g=h@i\j"k%lü`} {
			t.Run(driver+" "+kind, func(t *testing.T) {
				t.Parallel()
				s := store.New(t, driver)
				s.Add(t, "localhost/name:v1", storedImage)
				root := filepath.Join(filepath.Dir(s.Root), name) // the library cannot write to this path
				must(os.Rename(s.Root, root))
				s.Root = root
				w := newWorld(t).alone()
				it := storedItem(storedImage, s)
				untouched(w, s, func() {
					w.images(it).ok().cached(false)
					w.hasUnpacked(storedImage)
				})
				must(os.RemoveAll(s.Root))
				w.images(it).ok().cached(true)
				if _, all := w.origins(storedImage); len(all) != 1 || all[0].Transport != request.ContainersStorage || all[0].Storage != root || all[0].From != "" {
					t.Errorf("recorded is %+v", all)
				}
			})
		}
	}
}

// TestFromStorageByList pins an image in a store by its list.
func TestFromStorageByList(t *testing.T) {
	t.Parallel()
	list := images.NewList(images.Of(images.New(images.Layer(7)), storedImage))
	for _, driver := range []string{"vfs", "overlay"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			s := store.New(t, driver)
			s.AddVia(t, "localhost/name:v1", list, storedImage)
			w := newWorld(t).alone()
			it := storedItem(storedImage, s)
			it.Image.Digest = list.Digest
			untouched(w, s, func() { w.images(it).ok() })
			w.hasUnpacked(storedImage)
			w.images(it).ok().cached(true)
			itself := listOf(list, "localhost/name:v1")
			itself.Image.Transport, itself.Image.StorageLocation = request.ContainersStorage, s.Root
			untouched(w, s, func() { w.lists(itself).ok() })
			if got := w.list(list.Digest); got != string(list.Raw) {
				t.Errorf("the list is %q", got)
			}
		})
	}
}

// TestFromStorageInUse reads a store that podman has open.
func TestFromStorageInUse(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"vfs", "overlay"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			s := store.New(t, driver)
			s.Add(t, "localhost/name:v1", storedImage)
			s.Hold(t)
			w := newWorld(t).alone()
			w.images(storedItem(storedImage, s)).ok()
			w.hasUnpacked(storedImage)
		})
	}
}

// TestFromStorageReadOnly reads a read-only store.
func TestFromStorageReadOnly(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"vfs", "overlay"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			s := store.New(t, driver)
			s.Add(t, "localhost/name:v1", storedImage)
			readOnly(t, s.Root)
			w := newWorld(t).alone()
			untouched(w, s, func() { w.images(storedItem(storedImage, s)).ok() })
			w.hasUnpacked(storedImage)
		})
	}
}

// readOnly makes a directory read-only until the test ends.
func readOnly(t testing.TB, dir string) {
	t.Helper()
	err := unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, "")
	if errors.Is(err, unix.EPERM) {
		t.Skip("making a directory read-only needs the right to mount")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(unix.Unmount(dir, unix.MNT_DETACH)) })
	must(unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
}

// TestStorageOfTheHost checks that storage.conf is used if no location is given.
func TestStorageOfTheHost(t *testing.T) {
	t.Parallel()
	s := store.New(t, "vfs")
	s.Add(t, "localhost/name:v1", storedImage)
	w := newWorld(t).alone()
	w.config("storage.conf", fmt.Sprintf("[storage]\ndriver = %q\ngraphroot = %q\nrunroot = %q\n", s.Driver, s.Root, s.RunRoot))
	w.env = []string{"CONTAINERS_STORAGE_CONF=" + filepath.Join(w.home, "storage.conf")}
	it := storedItem(storedImage, s)
	it.Image.StorageLocation = ""
	untouched(w, s, func() { w.images(it).ok() })
	w.hasUnpacked(storedImage)
}

// TestNotInStorage pairs missing images with errors.
func TestNotInStorage(t *testing.T) {
	t.Parallel()
	other := images.New(images.Layer(50))
	list := images.NewList(images.Of(storedImage))
	s := store.New(t, "vfs")
	s.Add(t, "localhost/name:v1", storedImage)
	empty := t.TempDir()
	const wayOut = "\ncheck storage-location, or graphroot in storage.conf where none is given"
	for name, c := range map[string]struct {
		change func(it *request.Item)
		want   string
	}{
		"image":  {func(it *request.Item) { it.ID = other.ID }, "image " + string(other.ID) + ": not in containers storage <root>; put it there first, for example with podman pull"},
		"digest": {func(it *request.Item) { it.Image.Digest = other.Digest }, "not in containers storage <root> under the digest " + string(other.Digest) + "; pull it by this digest first"},
		"list":   {func(it *request.Item) { it.Image.Digest = list.Digest }, "not in containers storage <root> under the digest " + string(list.Digest) + "; pull it by this digest first"},
		"store":  {func(it *request.Item) { it.Image.StorageLocation = "/no/such/store" }, "no containers storage at /no/such/store: no such file or directory" + wayOut},
		"file":   {func(it *request.Item) { it.Image.StorageLocation = "/etc/passwd" }, "no containers storage at /etc/passwd: not a directory" + wayOut},
		"any":    {func(it *request.Item) { it.Image.StorageLocation = empty }, "no containers storage at " + empty + ": it holds no images" + wayOut},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t).alone()
			it := storedItem(storedImage, s)
			c.change(&it)
			untouched(w, s, func() {
				w.images(it).failed("<name>: "+c.want, "<name>", it.Image.Name+"@"+string(it.Image.Digest), "<root>", s.Root)
			})
			w.nothing()
			if left, _ := os.ReadDir(empty); len(left) > 0 {
				t.Errorf("written into a directory that is not a store: %v", left)
			}
		})
	}
}

// TestDamagedStorage checks that content of a store is verified like content of a registry.
func TestDamagedStorage(t *testing.T) {
	t.Parallel()
	s := store.New(t, "vfs")
	s.Add(t, "localhost/name:v1", storedImage)
	found, _ := filepath.Glob(filepath.Join(s.Root, "vfs/dir/*/data-1"))
	if len(found) == 0 {
		t.Fatal("no file to damage")
	}
	for _, path := range found {
		fi, err := os.Stat(path)
		must(err)
		must(os.WriteFile(path, make([]byte, fi.Size()), 0o644))
	}
	w := newWorld(t).alone()
	w.images(storedItem(storedImage, s)).failed("<name>: blob <layer>: read layer from containers storage <root>: file integrity checksum failed for \"data-1\"\nlook with podman system check, or pull the image again",
		"<name>", "localhost/name:v1@"+string(storedImage.Digest), "<layer>", string(storedImage.Layers[1].DiffID), "<root>", s.Root)
	w.nothing()
}

// TestDamagedRecordInStorage checks that a layer that does not match is reported as the storage's fault, not a registry's.
func TestDamagedRecordInStorage(t *testing.T) {
	t.Parallel()
	s := store.New(t, "vfs")
	s.Add(t, "localhost/name:v1", storedImage)
	path := filepath.Join(s.Root, "vfs-layers", "layers.json")
	raw, err := os.ReadFile(path)
	must(err)
	first := regexp.MustCompile(`"diff-size":\d+`).Find(raw)
	must(os.WriteFile(path, bytes.Replace(raw, first, []byte(`"diff-size":512`), 1), 0o600))
	newWorld(t).alone().images(storedItem(storedImage, s)).failed("<name>: blob <layer>: size mismatch: got more than 512 bytes, want 512 bytes\nthe storage is damaged: look with podman system check, or pull the image again",
		"<name>", "localhost/name:v1@"+string(storedImage.Digest), "<layer>", string(storedImage.Layers[0].DiffID))
}
