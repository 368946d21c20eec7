package store_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/storage"

	"osbuild-containers/test/images"
	"osbuild-containers/test/store"
)

func TestMain(m *testing.M) { store.Main(m) }

func TestImagesAreFoundAgain(t *testing.T) {
	img := images.New(images.Layer(100_000), images.Layer(2000))
	for _, driver := range []string{"vfs", "overlay"} {
		t.Run(driver, func(t *testing.T) {
			s := store.New(t, driver)
			s.Add(t, "localhost/name:v1", img)

			st, err := storage.GetStore(storage.StoreOptions{
				GraphRoot: s.Root, RunRoot: s.RunRoot, GraphDriverName: driver,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer st.Shutdown(true)
			ref, err := istorage.Transport.ParseStoreReference(st, "@"+img.ID.Encoded())
			if err != nil {
				t.Fatal(err)
			}
			source, err := ref.NewImageSource(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer source.Close()
			raw, _, err := source.GetManifest(t.Context(), nil)
			if err != nil || string(raw) != string(img.Raw) {
				t.Errorf("manifest %s, error %v", raw, err)
			}
		})
	}
}

func TestUseMakesItTheStoreOfTheHost(t *testing.T) {
	if _, err := exec.LookPath("podman"); err != nil || os.Geteuid() != 0 {
		t.Skip("needs podman and root")
	}
	img := images.New(images.Layer(1000))
	s := store.New(t, "vfs")
	s.Add(t, "localhost/name:v1", img)
	s.Use(t)
	out, err := exec.Command("podman", "image", "inspect", "--format", "{{.Id}}", "localhost/name:v1").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != img.ID.Encoded() {
		t.Errorf("podman: %s %v", out, err)
	}
}
