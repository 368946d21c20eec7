package keep

import (
	"bytes"
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/test/images"
)

// day is noon of a day of June.
func day(n int) time.Time { return time.Date(2026, 6, n, 12, 0, 0, 0, time.UTC) }

// store is a cache that a test fills.
type store struct {
	t    *testing.T
	dir  string
	c    *cache.Cache
	pool *cache.Pool
}

func newStore(t *testing.T) *store {
	t.Helper()
	s := &store{t: t, dir: t.TempDir()}
	s.c = cache.Open(s.dir)
	s.open()
	t.Cleanup(func() { s.pool.Close() })
	return s
}

func (s *store) open() {
	s.t.Helper()
	var err error
	if s.pool, err = s.c.OpenPool(context.Background()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *store) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// put brings a blob into the pool.
func (s *store) put(d digest.Digest, blob []byte) {
	s.t.Helper()
	w, err := s.pool.Acquire(s.t.Context(), d, int64(len(blob)), nil)
	s.must(err)
	if w == nil {
		return
	}
	defer w.Close()
	_, err = w.ReadFrom(struct{ *bytes.Reader }{bytes.NewReader(blob)})
	s.must(err)
	s.must(w.Commit())
}

// publish publishes an image, fetched on a day of June under each of the names.
func (s *store) publish(img *images.Image, at int, names ...string) {
	s.t.Helper()
	m, err := manifest.Parse(img.Raw)
	s.must(err)
	s.put(img.ID, img.Config)
	for _, l := range img.Layers {
		s.put(l.Digest, l.Blob)
	}
	pub := &cache.Image{Manifest: img.Raw, Blobs: m.Blobs()}
	for _, n := range names {
		pub.Origins = append(pub.Origins, cache.Origin{Name: n, Digest: img.Digest, Fetched: day(at)})
	}
	s.must(s.c.Publish(s.t.Context(), s.pool, img.ID, pub))
}

// foreign publishes an image as osbuild's own source does: no pool, nothing recorded, nothing shared.
func (s *store) foreign(img *images.Image, at int) {
	s.t.Helper()
	dir := s.c.ImagePath(img.ID)
	s.must(os.MkdirAll(dir, 0o755))
	files := map[string][]byte{"version": []byte("Directory Transport Version: 1.1\n"), "manifest.json": img.Raw, img.ID.Encoded(): img.Config}
	for _, l := range img.Layers {
		files[l.Digest.Encoded()] = l.Blob
	}
	for name, content := range files {
		s.must(os.WriteFile(filepath.Join(dir, name), content, 0o644))
		s.must(os.Chtimes(filepath.Join(dir, name), day(at), day(at)))
	}
}

func (s *store) scan() []*Image {
	s.t.Helper()
	all, err := Scan(s.c)
	s.must(err)
	return all
}

// get is the image of a scan.
func (s *store) get(img *images.Image) *Image {
	s.t.Helper()
	for _, i := range s.scan() {
		if i.ID == img.ID {
			return i
		}
	}
	s.t.Fatalf("image %s is not found", img.ID)
	return nil
}

// blob is the path of a blob of a published image.
func (s *store) blob(img *images.Image, d digest.Digest) string {
	return filepath.Join(s.c.ImagePath(img.ID), d.Encoded())
}

var (
	base  = images.New(images.Layer(1000))
	top   = images.New(images.Use(base.Layers[0]), images.Layer(2000))
	other = images.New(images.Arch("arm"), images.Variant("v7"), images.Layer(500))
)

func TestScan(t *testing.T) {
	s := newStore(t)
	s.publish(base, 1, "example.com/a/base:1", "example.com/b/base")
	s.publish(top, 2, "example.com/a/top:1")
	s.foreign(other, 3)
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

// What cannot be read is said of that image, and of no other.
func TestProblems(t *testing.T) {
	for want, spoil := range map[string]func(s *store, dir string){
		"manifest.json: no such file or directory": func(s *store, dir string) { s.must(os.Remove(filepath.Join(dir, "manifest.json"))) },
		"manifest is not JSON": func(s *store, dir string) {
			s.must(os.WriteFile(filepath.Join(dir, "manifest.json"), []byte("x"), 0o644))
		},
		"its manifest is not of this image": func(s *store, dir string) {
			s.must(os.WriteFile(filepath.Join(dir, "manifest.json"), other.Raw, 0o644))
		},
		"1 of its 3 blobs are missing": func(s *store, _ string) { s.must(os.Remove(s.blob(top, top.Layers[1].Digest))) },
		"2 of its 3 blobs are missing": func(s *store, _ string) {
			s.must(os.Truncate(s.blob(top, top.Layers[0].Digest), 5))
			s.must(os.Remove(s.blob(top, top.ID)))
		},
		"its file version is missing": func(s *store, dir string) { s.must(os.Remove(filepath.Join(dir, "version"))) },
		"config: digest mismatch: got sha256:": func(s *store, _ string) {
			s.must(os.Remove(s.blob(top, top.ID)))
			s.must(os.WriteFile(s.blob(top, top.ID), bytes.ToUpper(top.Config), 0o644))
		},
	} {
		s := newStore(t)
		s.foreign(base, 1)
		s.publish(top, 1, "example.com/top:1")
		spoil(s, s.c.ImagePath(top.ID))
		if got := s.get(top); !strings.Contains(got.Problem, want) || got.Title() == NoName {
			t.Errorf("want %q, got %q: %s", want, got.Problem, got.Title())
		}
		if got := s.get(base); got.Problem != "" {
			t.Errorf("%s: the other image has the problem %s", want, got.Problem)
		}
		if _, err := Measure(s.c); err != nil {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// An image is not judged by what its config says.
func TestStrangeConfigs(t *testing.T) {
	for _, config := range []string{`{}`, `not JSON`, `[]`, `{"created":"","os":7,"config":{"Cmd":"x","Labels":[]}}`, `{"created":"2026-06-01","architecture":"s390x"}`} {
		s := newStore(t)
		img := images.New(images.ConfigBytes([]byte(config)), images.Layer(10))
		s.publish(img, 1, "example.com/odd")
		got := s.get(img)
		if got.Problem != "" || !got.Created.IsZero() {
			t.Errorf("%s: %+v", config, got)
		}
		if d, err := Inspect(s.c, got); err != nil || string(d.Config.Raw) != config {
			t.Errorf("%s: %v", config, err)
		}
	}
}

func TestMeasure(t *testing.T) {
	s := newStore(t)
	s.publish(base, 1, "example.com/base")
	s.publish(top, 1, "example.com/top")
	loose := []byte("nobody has it")
	s.put(digest.FromBytes(loose), loose)
	half := filepath.Join(s.dir, "org.osbuild.containers/.pool/partial", digest.FromString("half").Encoded())
	s.must(os.WriteFile(half, []byte("ha"), 0o644))
	u, err := Measure(s.c)
	s.must(err)
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

	// The same two as osbuild's own source has them.
	s = newStore(t)
	s.foreign(base, 1)
	s.foreign(top, 1)
	s.must(os.RemoveAll(filepath.Join(s.dir, "org.osbuild.containers/.pool")))
	u, err = Measure(s.c)
	s.must(err)
	if u.Size != sizes || u.Disk != sizes || u.Twice != layer || len(u.Unused) > 0 {
		t.Errorf("without a pool: %d of images, %d on disk, %d twice", u.Size, u.Disk, u.Twice)
	}
}

func TestInspect(t *testing.T) {
	s := newStore(t)
	s.publish(top, 1, "example.com/top:1")
	dir := s.c.ImagePath(top.ID)
	s.must(os.WriteFile(filepath.Join(dir, "signature-1"), []byte("\x99\x01OpenPGP"), 0o644))
	sigstore := "\x00sigstore-json\n" + `{"mimeType":"x","payload":"eyJjcml0aWNhbCI6eyJpZGVudGl0eSI6eyJkb2NrZXItcmVmZXJlbmNlIjoiZXhhbXBsZS5jb20vdG9wIn19fQ==","annotations":{}}`
	s.must(os.WriteFile(filepath.Join(dir, "signature-2"), []byte(sigstore), 0o644))
	d, err := Inspect(s.c, s.get(top))
	s.must(err)
	if len(d.Layers) != 2 || d.Layers[1].DiffID != top.Layers[1].DiffID || d.Layers[0].CreatedBy != "test" || d.Layers[0].Size != top.Layers[0].Size {
		t.Errorf("layers %+v", d.Layers)
	}
	if want := []Signature{{"simple", 9, ""}, {"sigstore", len(sigstore), "example.com/top"}}; !slices.Equal(d.Signatures, want) {
		t.Errorf("signatures %+v", d.Signatures)
	}
	if d.MediaType != images.OCIManifest || d.Path != dir || !slices.Equal(d.Config.Run.Cmd, []string{"/bin/sh"}) {
		t.Errorf("%+v", d)
	}
	s.must(os.WriteFile(filepath.Join(dir, "manifest.json"), []byte("{"), 0o644))
	if _, err := Inspect(s.c, s.get(top)); err == nil || !strings.Contains(err.Error(), "manifest is not JSON") {
		t.Errorf("a damaged image: %v", err)
	}
}

func TestNothingThere(t *testing.T) {
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

// Files with holes may have more bytes together than a number can say.
func TestSumsDoNotOverflow(t *testing.T) {
	large := []cache.Stored{{Size: math.MaxInt64}, {Size: math.MaxInt64, Ino: 1}}
	u := Usage{Disk: math.MaxInt64, Unused: large, Partial: large}
	if u.Total() != math.MaxInt64 || newWeights(nil, large).total != math.MaxInt64 {
		t.Errorf("got %d, %d", u.Total(), newWeights(nil, large).total)
	}
}
