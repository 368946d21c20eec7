package cacheinfo

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/test/images"
)

func TestScan(t *testing.T) {
	s := newStore(t)
	s.Publish(base, 1, "example.com/a/base:1", "example.com/b/base")
	s.Publish(top, 2, "example.com/a/top:1")
	s.Foreign(other, 3)
	got := s.get(base)
	if got.Manifest != base.Digest || got.List != "" || got.Arch() != "amd64" || !got.Created.Equal(time.Unix(1700000000, 0)) || !got.Fetched.Equal(day(1)) || got.Problem != "" {
		t.Errorf("base is %+v", got)
	}
	if want := int64(len(base.Config)) + base.Layers[0].Size; got.Size != want || got.Unshared != int64(len(base.Config)) {
		t.Errorf("base has %d bytes, %d not shared, want %d and its config", got.Size, got.Unshared, want)
	}
	both := []digest.Digest{base.ID, top.ID}
	slices.Sort(both)
	if layer := got.Blobs[1]; !slices.Equal(layer.Images, both) {
		t.Errorf("the layer is in %s, want %s", layer.Images, both)
	}
	got = s.get(top)
	if want := int64(len(top.Config)) + top.Layers[1].Size; got.Unshared != want {
		t.Errorf("top adds %d bytes, want %d", got.Unshared, want)
	}
	got = s.get(other)
	if got.Origins != nil || !got.Fetched.Equal(day(3)) || got.Unshared != got.Size || got.Arch() != "arm/v7" || got.Problem != "" {
		t.Errorf("what osbuild's own source put there is %+v", got)
	}
	if title := got.Title(); title != "(no name recorded) arm/v7" {
		t.Errorf("its title is %s", title)
	}
}

// An unreadable image has a problem, and the others have none.
func TestProblems(t *testing.T) {
	for want, spoil := range map[string]func(s *store, dir string){
		"manifest.json: no such file or directory": func(s *store, dir string) { s.Must(os.Remove(filepath.Join(dir, "manifest.json"))) },
		"manifest is not JSON": func(s *store, dir string) {
			s.Must(os.WriteFile(filepath.Join(dir, "manifest.json"), []byte("x"), 0o644))
		},
		"its manifest is not of this image": func(s *store, dir string) {
			s.Must(os.WriteFile(filepath.Join(dir, "manifest.json"), other.Raw, 0o644))
		},
		"1 of its 3 blobs are missing": func(s *store, _ string) { s.Must(os.Remove(s.Blob(top, top.Layers[1].Digest))) },
		"2 of its 3 blobs are missing": func(s *store, _ string) {
			s.Must(os.Truncate(s.Blob(top, top.Layers[0].Digest), 5))
			s.Must(os.Remove(s.Blob(top, top.ID)))
		},
		"its file version is missing": func(s *store, dir string) { s.Must(os.Remove(filepath.Join(dir, "version"))) },
		"config has digest sha256:": func(s *store, _ string) {
			s.Must(os.Remove(s.Blob(top, top.ID)))
			s.Must(os.WriteFile(s.Blob(top, top.ID), bytes.ToUpper(top.Config), 0o644))
		},
	} {
		s := newStore(t)
		s.Foreign(base, 1)
		s.Publish(top, 1, "example.com/top:1")
		spoil(s, s.Cache.ImagePath(top.ID))
		if got := s.get(top); !strings.Contains(got.Problem, want) || got.Title() == NoName {
			t.Errorf("want %q, got %q: %s", want, got.Problem, got.Title())
		}
		if got := s.get(base); got.Problem != "" {
			t.Errorf("%s: the other image has the problem %s", want, got.Problem)
		}
		if _, err := Measure(s.Cache); err != nil {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// Unusual configs do not make an image invalid.
func TestStrangeConfigs(t *testing.T) {
	for _, config := range []string{`{}`, `not JSON`, `[]`, `{"created":"","os":7,"config":{"Cmd":"x","Labels":[]}}`, `{"created":"2026-06-01","architecture":"s390x"}`} {
		s := newStore(t)
		img := images.New(images.ConfigBytes([]byte(config)), images.Layer(10))
		s.Publish(img, 1, "example.com/odd")
		got := s.get(img)
		if got.Problem != "" || !got.Created.IsZero() {
			t.Errorf("%s: %+v", config, got)
		}
		if d, err := Inspect(s.Cache, got); err != nil || string(d.Config.Raw) != config {
			t.Errorf("%s: %v", config, err)
		}
	}
}

func TestMeasure(t *testing.T) {
	s := newStore(t)
	s.Publish(base, 1, "example.com/base")
	s.Publish(top, 1, "example.com/top")
	loose := []byte("no image has it")
	s.Put(digest.FromBytes(loose), loose)
	half := filepath.Join(s.Dir, "org.osbuild.containers/.pool/partial", digest.FromString("half").Encoded())
	s.Must(os.WriteFile(half, []byte("ha"), 0o644))
	u, err := Measure(s.Cache)
	s.Must(err)
	layer := base.Layers[0].Size
	sizes := int64(len(base.Config)+len(top.Config)) + 2*layer + top.Layers[1].Size
	if u.Size != sizes || u.Disk != sizes-layer || u.Saved() != layer || u.Twice != 0 || u.Total() != sizes-layer+int64(len(loose))+2 {
		t.Errorf("%d of images, %d on disk, %d saved, %d twice, %d in all", u.Size, u.Disk, u.Saved(), u.Twice, u.Total())
	}
	if len(u.Unused) != 1 || u.Unused[0].Digest != digest.FromBytes(loose) || len(u.Partial) != 1 || Bytes(u.Partial) != 2 {
		t.Errorf("unused %v, partial %v", u.Unused, u.Partial)
	}
	if u.Images[0].ID != top.ID {
		t.Error("the image that adds most is not the first")
	}

	// The same images as osbuild's own source stores them.
	s = newStore(t)
	s.Foreign(base, 1)
	s.Foreign(top, 1)
	s.Must(os.RemoveAll(filepath.Join(s.Dir, "org.osbuild.containers/.pool")))
	u, err = Measure(s.Cache)
	s.Must(err)
	if u.Size != sizes || u.Disk != sizes || u.Twice != layer || len(u.Unused) > 0 {
		t.Errorf("without a pool: %d of images, %d on disk, %d twice", u.Size, u.Disk, u.Twice)
	}
}

func TestInspect(t *testing.T) {
	s := newStore(t)
	s.Publish(top, 1, "example.com/top:1")
	dir := s.Cache.ImagePath(top.ID)
	s.Must(os.WriteFile(filepath.Join(dir, "signature-1"), []byte("\x99\x01OpenPGP"), 0o644))
	sigstore := "\x00sigstore-json\n" + `{"mimeType":"x","payload":"eyJjcml0aWNhbCI6eyJpZGVudGl0eSI6eyJkb2NrZXItcmVmZXJlbmNlIjoiZXhhbXBsZS5jb20vdG9wIn19fQ==","annotations":{}}`
	s.Must(os.WriteFile(filepath.Join(dir, "signature-2"), []byte(sigstore), 0o644))
	d, err := Inspect(s.Cache, s.get(top))
	s.Must(err)
	if len(d.Layers) != 2 || d.Layers[1].DiffID != top.Layers[1].DiffID || d.Layers[0].CreatedBy != "test" || d.Layers[0].Size != top.Layers[0].Size {
		t.Errorf("layers %+v", d.Layers)
	}
	if want := []Signature{{"simple", 9, ""}, {"sigstore", len(sigstore), "example.com/top"}}; !slices.Equal(d.Signatures, want) {
		t.Errorf("signatures %+v", d.Signatures)
	}
	if d.MediaType != images.OCIManifest || d.Path != dir || !slices.Equal(d.Config.Run.Cmd, []string{"/bin/sh"}) {
		t.Errorf("%+v", d)
	}
	s.Must(os.WriteFile(filepath.Join(dir, "manifest.json"), []byte("{"), 0o644))
	if _, err := Inspect(s.Cache, s.get(top)); err == nil || !strings.Contains(err.Error(), "manifest is not JSON") {
		t.Errorf("a damaged image: %v", err)
	}
}

func TestMissingCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	if all, err := Scan(cache.Open(dir)); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	if u, err := Measure(cache.Open(dir)); err != nil || u.Total() != 0 {
		t.Errorf("%v, %v", u, err)
	}
	if _, err := os.Lstat(dir); err == nil {
		t.Error("the cache was made")
	}
}

// The total size of sparse files can exceed an int64.
func TestSumsDoNotOverflow(t *testing.T) {
	large := []cache.Stored{{Size: math.MaxInt64}, {Size: math.MaxInt64, FileID: cache.FileID{Ino: 1}}}
	u := Usage{Disk: math.MaxInt64, Unused: large, Partial: large}
	if u.Total() != math.MaxInt64 {
		t.Errorf("got %d", u.Total())
	}
}
