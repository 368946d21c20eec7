package image

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/containers/image/v5/docker"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/storage"
	"osbuild-containers/internal/request"
	"osbuild-containers/internal/retry"
	"osbuild-containers/test/home"
	"osbuild-containers/test/images"
	"osbuild-containers/test/store"
)

func TestMain(m *testing.M) {
	if Reexec() {
		return
	}
	os.Exit(home.Run(m))
}

// TestTransports checks that every transport of a request has a complete entry.
func TestTransports(t *testing.T) {
	for _, name := range []string{request.Docker, request.ContainersStorage} {
		tr, ok := transports[name]
		if !ok || tr.open == nil || tr.head == nil || tr.identity == nil {
			t.Errorf("%s: %+v", name, tr)
		}
	}
}

// TestClassifyLocal checks that an error of a local transport is final, whatever it wraps.
func TestClassifyLocal(t *testing.T) {
	busy := docker.ErrTooManyRequests
	if class, _ := Classify(busy); class != retry.Transient {
		t.Errorf("the error itself: class %d", class)
	}
	for _, err := range []error{storage.Mark(busy), fmt.Errorf("%w: x", storage.ErrNotStored), errors.New("x")} {
		if class, _ := Classify(err); class != retry.Final {
			t.Errorf("%v: class %d", err, class)
		}
	}
}

// TestStoredTag opens an image in a containers storage by name.
func TestStoredTag(t *testing.T) {
	s := store.New(t, "vfs")
	img := images.New(images.Layer(1000))
	s.Add(t, "localhost/name:v1", img)
	target := Target{Image: request.Image{Name: "localhost/name:v1"}}
	target.Transport, target.StorageLocation = request.ContainersStorage, s.Root
	src, err := Open(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	raw, err := src.Manifest(t.Context(), "")
	if err != nil || digest.FromBytes(raw) != img.Digest || src.Origin() != s.Root {
		t.Errorf("got %s from %s, %v; want %s", digest.FromBytes(raw), src.Origin(), err, img.Digest)
	}
	if d, from, err := Head(t.Context(), target); err != nil || d != img.Digest || from != s.Root {
		t.Errorf("head: %s from %s, %v", d, from, err)
	}
	target.Name = "localhost/name:v2"
	if _, _, err := Head(t.Context(), target); !IsNotFound(err) {
		t.Errorf("another tag: %v", err)
	}
}
