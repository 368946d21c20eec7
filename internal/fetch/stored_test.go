package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/request"
	"osbuild-containers/internal/retry"
	"osbuild-containers/test/images"
	"osbuild-containers/test/store"
)

// TestStored checks the answers of the source org.osbuild.containers-storage.
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

// TestPlacesOfImages pairs a storage.conf and an environment with whether an image in the directory <store> is found. <none> is a
// directory that does not exist and <empty> an empty one. Nothing is written to any of them.
func TestPlacesOfImages(t *testing.T) {
	t.Parallel()
	const additional = "[storage.options]\nadditionalimagestores = "
	cases := map[string]struct {
		conf string
		env  []string
		want string // "" is success
	}{
		"graphroot":                           {conf: "graphroot = '<store>'"},
		"image store":                         {conf: "graphroot = '<empty>'\nimagestore = '<store>'"},
		"image store as the library fills it": {conf: "graphroot = '<graph>'\nimagestore = '<apart>'"},
		"image store, no graphroot":           {conf: "graphroot = '<none>'\nimagestore = '<store>'"},
		"additional, graphroot empty":         {conf: "graphroot = '<empty>'\n" + additional + "['<store>']"},
		"additional, no graphroot":            {conf: "graphroot = '<none>'\n" + additional + "['<store>']"},
		"several additional, some are gone":   {conf: "graphroot = '<none>'\n" + additional + "['/no/such/store', '<empty>', '<store>']"},
		"additional that is gone":             {conf: "graphroot = '<store>'\n" + additional + "['/no/such/store']"},
		"additional that is graphroot":        {conf: "graphroot = '<store>'\n" + additional + "['<store>']"},
		"variable":                            {conf: "", env: []string{"CONTAINERS_GRAPHROOT=<store>", "CONTAINERS_RUNROOT=<none>"}},
		"variable before graphroot":           {conf: "graphroot = '<none>'", env: []string{"CONTAINERS_GRAPHROOT=<store>"}},
		"another driver left an empty store":  {conf: "graphroot = '<both>'"},
		"option":                              {conf: "graphroot = '<empty>'", env: []string{"STORAGE_OPTS=<driver>.imagestore=<store>"}},
		"nowhere":                             {conf: "graphroot = '<empty>'\n" + additional + "['/no/such/store']", want: "no containers storage at <empty>: it holds no images"},
		"nowhere, and no graphroot":           {conf: "graphroot = '<none>'\n" + additional + "['<empty>']", want: "no containers storage at <none>: no such file or directory"},
		"a variable that points to nowhere":   {conf: "graphroot = '<store>'", env: []string{"CONTAINERS_GRAPHROOT=<none>"}, want: "no containers storage at <none>: no such file or directory"},
		"colon in the name of a store":        {conf: "graphroot = '<none>'\n" + additional + "['<odd>']"},
	}
	img := images.New(images.Layer(50))
	for _, driver := range []string{"vfs", "overlay"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			s := store.New(t, driver)
			s.Add(t, "localhost/name:v1", img)
			apart, graph, layers := store.New(t, driver), t.TempDir(), driver+"-layers"
			apart.Add(t, "localhost/name:v1", img)
			must(os.Mkdir(filepath.Join(graph, layers), 0o700))
			archives, err := filepath.Glob(filepath.Join(apart.Root, layers, "*.tar-split.gz"))
			must(err)
			for _, a := range archives {
				must(os.Rename(a, filepath.Join(graph, layers, filepath.Base(a))))
			}
			both := store.New(t, driver)
			both.Add(t, "localhost/name:v1", img)
			must(os.MkdirAll(filepath.Join(both.Root, map[string]string{"vfs": "overlay", "overlay": "vfs"}[driver]+"-images"), 0o700))
			for name, c := range cases {
				t.Run(name, func(t *testing.T) {
					w := newWorld(t).alone()
					odd, none, empty := filepath.Join(w.home, "o:d d"), filepath.Join(w.home, "none"), filepath.Join(w.home, "empty")
					must(os.Symlink(s.Root, odd))
					must(os.Mkdir(empty, 0o755))
					r := strings.NewReplacer("<store>", s.Root, "<apart>", apart.Root, "<graph>", graph, "<both>", both.Root, "<odd>", odd, "<none>", none, "<empty>", empty, "<driver>", driver)
					w.config("storage.conf", r.Replace(fmt.Sprintf("[storage]\ndriver = %q\nrunroot = '<none>/run'\n%s\n", driver, c.conf)))
					w.env = []string{"CONTAINERS_STORAGE_CONF=" + filepath.Join(w.home, "storage.conf")}
					for _, e := range c.env {
						w.env = append(w.env, r.Replace(e))
					}
					it := storedItem(img, s)
					it.Image.StorageLocation = ""
					for _, out := range []outcome{w.do("stored", []request.Item{it}), w.images(it)} {
						if c.want == "" {
							out.ok()
							continue
						}
						if got := out.Results[0].Error; !strings.Contains(got, ": "+r.Replace(c.want)+"\ncheck storage-location, ") {
							t.Errorf("got %s", got)
						}
					}
					if c.want == "" {
						w.hasUnpacked(img)
					}
					if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
						t.Errorf("the empty store has %v, %v", left, err)
					}
					if _, err := os.Lstat(none); err == nil {
						t.Error("the store that does not exist was made")
					}
				})
			}
		})
	}
}

// TestStoreIsLocal checks that errors of a storage are not retried, whatever they look like, and have no hint about the network.
func TestStoreIsLocal(t *testing.T) {
	t.Parallel()
	for _, err := range []error{io.ErrUnexpectedEOF, unix.ECONNREFUSED, unix.ETIMEDOUT, retry.StallError{After: time.Second}} {
		it := newJob(&request.Request{Options: request.Options{Retries: 3, Timeout: time.Minute}}, nil).newItem(
			request.Item{Image: request.Image{Transport: request.ContainersStorage}})
		tries := 0
		got := it.tries.New(func(retry.Failure) {}).Do(t.Context(), func(context.Context) error { tries++; return err })
		if tries != 1 || !errors.Is(got, err) || hintOf(it.cache, got) != (hint.Hint{}) {
			t.Errorf("%v: %d tries, then %v and the hint %q", err, tries, got, hintOf(it.cache, got))
		}
	}
}
