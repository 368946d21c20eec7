// Package store makes containers storages for tests, as podman would leave them:
// written by the library, with the overlay or the vfs driver.
//
//	func TestMain(m *testing.M) { store.Main(m) }
//
//	s := store.New(t, "vfs")
//	s.Add(t, "localhost/name:v1", img)
//	// … read containers-storage at s.Root, or let s.Use(t) make it the host's …
//
// The overlay driver needs root and a file system that is no overlay itself; New skips
// the test without them.
package store

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/containers/image/v5/pkg/blobinfocache/none"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/containers/storage/pkg/reexec"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/test/images"
)

// Main runs the tests of a package that uses a Store: the library unpacks layers in
// a process of its own, which is the test executable once more.
func Main(m *testing.M) {
	if reexec.Init() {
		return
	}
	os.Exit(m.Run())
}

// Store is a containers storage.
type Store struct {
	Root    string // graph root
	RunRoot string
	Driver  string
}

// New makes an empty store in a directory of the test.
func New(t testing.TB, driver string) *Store {
	t.Helper()
	return At(t, filepath.Join(t.TempDir(), "store"), driver)
}

// At makes an empty store with the graph root given.
func At(t testing.TB, root, driver string) *Store {
	t.Helper()
	if driver == "overlay" {
		NeedOverlay(t, filepath.Dir(root))
	}
	s := &Store{Root: root, RunRoot: t.TempDir(), Driver: driver}
	s.open(t, func(storage.Store) error { return nil })
	return s
}

// NeedOverlay skips the test where a store with the overlay driver cannot be written in
// the directory: by others than root, and on an overlay file system, as in a container.
func NeedOverlay(t testing.TB, in string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a store with the overlay driver can be written by root only")
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(in, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		t.Skipf("a store with the overlay driver cannot be written on an overlay file system, as that of %s is: set GOTMPDIR", in)
	}
}

// Use makes this the store that storage.conf names, until the test ends.
func (s *Store) Use(t testing.TB) {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "storage.conf")
	text := fmt.Sprintf("[storage]\ndriver = %q\ngraphroot = %q\nrunroot = %q\n", s.Driver, s.Root, s.RunRoot)
	if err := os.WriteFile(conf, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONTAINERS_STORAGE_CONF", conf)
}

// Add writes an image into the store under a name such as "localhost/name:v1".
func (s *Store) Add(t testing.TB, name string, img *images.Image) {
	t.Helper()
	s.open(t, func(st storage.Store) error {
		ref, err := istorage.Transport.ParseStoreReference(st, name)
		if err != nil {
			return err
		}
		return write(t.Context(), ref, img, img.Raw, img.MediaType)
	})
}

// AddVia is Add for an image that was chosen from a list: the store keeps the list too.
func (s *Store) AddVia(t testing.TB, name string, list *images.List, img *images.Image) {
	t.Helper()
	s.open(t, func(st storage.Store) error {
		ref, err := istorage.Transport.ParseStoreReference(st, name)
		if err != nil {
			return err
		}
		return write(t.Context(), ref, img, list.Raw, list.MediaType)
	})
}

// Hold keeps the store open for writing, as a podman that runs does, until the test ends.
func (s *Store) Hold(t testing.TB) {
	t.Helper()
	st, err := storage.GetStore(storage.StoreOptions{GraphRoot: s.Root, RunRoot: s.RunRoot, GraphDriverName: s.Driver})
	if err != nil {
		t.Fatalf("open test store: %v", err)
	}
	t.Cleanup(func() { _, _ = st.Shutdown(true) })
}

func (s *Store) open(t testing.TB, use func(storage.Store) error) {
	t.Helper()
	st, err := storage.GetStore(storage.StoreOptions{
		GraphRoot: s.Root, RunRoot: s.RunRoot, GraphDriverName: s.Driver,
	})
	if err != nil {
		t.Fatalf("open test store: %v", err)
	}
	err = use(st)
	if _, shutdown := st.Shutdown(true); err == nil {
		err = shutdown
	}
	if err != nil {
		t.Fatalf("write test store: %v", err)
	}
}

// write does what copying an image into the store does, without the library's copy
// package, which would bring a database and more. What was asked for is the image's own
// manifest or that of a list.
func write(ctx context.Context, ref types.ImageReference, img *images.Image, raw []byte, mediaType string) error {
	dest, err := ref.NewImageDestination(ctx, nil)
	if err != nil {
		return err
	}
	defer dest.Close()
	put := func(d digest.Digest, data []byte, config bool) error {
		info := types.BlobInfo{Digest: d, Size: int64(len(data))}
		_, err := dest.PutBlob(ctx, bytes.NewReader(data), info, none.NoCache, config)
		return err
	}
	for _, l := range img.Layers {
		if err := put(l.Digest, l.Blob, false); err != nil {
			return err
		}
	}
	if err := put(img.ID, img.Config, true); err != nil {
		return err
	}
	if err := dest.PutManifest(ctx, img.Raw, nil); err != nil {
		return err
	}
	return dest.Commit(ctx, unparsed{ref, raw, mediaType})
}

// unparsed implements types.UnparsedImage: where the image comes from.
type unparsed struct {
	ref       types.ImageReference
	raw       []byte
	mediaType string
}

// Reference implements types.UnparsedImage.
func (u unparsed) Reference() types.ImageReference { return u.ref }

// Manifest implements types.UnparsedImage.
func (u unparsed) Manifest(context.Context) ([]byte, string, error) {
	return u.raw, u.mediaType, nil
}

// Signatures implements types.UnparsedImage.
func (u unparsed) Signatures(context.Context) ([][]byte, error) { return nil, nil }

// LayerInfosForCopy implements types.UnparsedImage.
func (u unparsed) LayerInfosForCopy(context.Context) ([]types.BlobInfo, error) { return nil, nil }
