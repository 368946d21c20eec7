package fetch

import (
	"fmt"
	"path/filepath"
	"testing"

	"osbuild-containers/internal/request"
	"osbuild-containers/test/images"
	"osbuild-containers/test/store"
)

// TestStored shows what the source org.osbuild.containers-storage says of the host's store.
func TestStored(t *testing.T) {
	t.Parallel()
	other := images.New(images.Layer(50))
	s := store.New(t, "vfs")
	s.Add(t, "localhost/name:v1", storedImage)
	w := newWorld(t).alone()
	w.config("storage.conf", fmt.Sprintf("[storage]\ndriver = %q\ngraphroot = %q\nrunroot = %q\n", s.Driver, s.Root, s.RunRoot))
	w.env = []string{"CONTAINERS_STORAGE_CONF=" + filepath.Join(w.home, "storage.conf")}
	untouched(w, s, func() {
		w.do("stored", []request.Item{{ID: storedImage.ID}}).ok().cached(true)
		w.do("stored", []request.Item{{ID: other.ID}}).failed(
			"image <id>: not in containers storage <root>; put it there first, for example with podman pull", "<id>", string(other.ID), "<root>", s.Root)
	})
	w.config("storage.conf", "[storage]\ndriver = \"vfs\"\ngraphroot = \"/no/such/store\"\nrunroot = \"/no/such/run\"\n")
	w.do("stored", []request.Item{{ID: other.ID}}).failed("image <id>: no containers storage at /no/such/store: no such file or directory\n"+
		"check storage-location, or graphroot in storage.conf where none is given", "<id>", string(other.ID))
	w.nothing()
}
