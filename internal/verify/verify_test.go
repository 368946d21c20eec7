package verify

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/request"
	"osbuild-containers/test/images"
)

// verify verifies the whole cache, or some of its images.
func (s *store) verify(some ...*images.Image) *Verified {
	s.T.Helper()
	all := s.scan()
	chosen := slices.DeleteFunc(slices.Clone(all), func(i *cacheinfo.Image) bool {
		return len(some) > 0 && !slices.ContainsFunc(some, func(img *images.Image) bool { return img.ID == i.ID })
	})
	v, err := Verify(s.T.Context(), s.Cache, chosen, len(some) == 0, nil)
	s.Must(err)
	return v
}

// flip changes one bit of a file in place.
func (s *store) flip(path string) {
	s.T.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	s.Must(err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, 20)
	s.Must(err)
	b[0] ^= 4
	_, err = f.WriteAt(b, 20)
	s.Must(err)
}

// parts describes the damage in short.
func parts(damaged []Damage) string {
	var all []string
	for _, d := range damaged {
		name := map[digest.Digest]string{base.ID: "base ", top.ID: "top ", other.ID: "other ", "": ""}[d.Image]
		all = append(all, name+string(d.What))
	}
	return strings.Join(all, ", ")
}

// sorted sorts a comma-separated text for comparison.
func sorted(text string) string {
	all := strings.Split(text, ", ")
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func TestVerifyReadsEachFileOnce(t *testing.T) {
	s := newStore(t)
	s.Publish(base, 1, "example.com/base:1")
	s.Publish(top, 2, "example.com/top:1")
	s.Foreign(other, 3)
	loose := []byte("no image has it")
	s.Put(digest.FromBytes(loose), loose)
	list := images.NewList(images.Of(base))
	s.Must(s.Cache.PublishFile(t.Context(), list.Digest, list.Raw))
	v := s.verify()
	want := base.Size() + top.Size() - base.Layers[0].Size + other.Size() + int64(len(loose)+len(list.Raw))
	if len(v.Damaged) > 0 || v.Bytes != want || v.Files != 8 || v.Images != 3 {
		t.Errorf("%d images, %d files, %d bytes, want %d; damaged: %v", v.Images, v.Files, v.Bytes, want, v.Damaged)
	}
	if !slices.Equal(v.Unvouched, []digest.Digest{other.ID}) {
		t.Errorf("no digest is recorded of %s", v.Unvouched)
	}
	if v := s.verify(top); v.Bytes != top.Size() || v.Images != 1 {
		t.Errorf("of one image %d bytes were read, want %d", v.Bytes, top.Size())
	}
}

func TestVerifyFindsDamage(t *testing.T) {
	layer, own := base.Layers[0].Digest, top.Layers[1].Digest
	pooled := func(s *store, d digest.Digest) string { return s.Cache.PooledPath(d) }
	for name, c := range map[string]struct {
		spoil func(s *store, dir string) // the directory of top
		want  string
		got   string // of the first
	}{
		"nothing":                     {func(*store, string) {}, "", ""},
		"a shared layer, one bit":     {func(s *store, _ string) { s.flip(s.Blob(top, layer)) }, "base layer, top layer", "sha256:"},
		"a layer of its own, one bit": {func(s *store, _ string) { s.flip(s.Blob(top, own)) }, "top layer", "sha256:"},
		"a layer cut":                 {func(s *store, _ string) { s.Must(os.Truncate(s.Blob(top, own), 5)) }, "blob, top layer", "5 bytes, want "},
		"a layer gone":                {func(s *store, _ string) { s.Must(os.Remove(s.Blob(top, own))) }, "top layer", "nothing"},
		"a config, one bit":           {func(s *store, _ string) { s.flip(s.Blob(top, top.ID)) }, "top config", "sha256:"},
		"a layer that is a link": {func(s *store, _ string) {
			p := s.Blob(top, own)
			s.Must(os.Remove(p))
			s.Must(os.Symlink("/dev/zero", p))
		}, "top layer", own.Encoded() + " is not a regular file"},
		"the pool only":             {func(s *store, _ string) { p := pooled(s, own); s.Must(os.Remove(p)); s.Write(p, "x") }, "blob", "sha256:"},
		"the manifest, one bit":     {func(s *store, dir string) { s.flip(filepath.Join(dir, "manifest.json")) }, "top manifest", ""},
		"the manifest, a line more": {func(s *store, dir string) { s.Write(filepath.Join(dir, "manifest.json"), string(top.Raw)+"\n") }, "top manifest", "sha256:"},
		"the manifest gone":         {func(s *store, dir string) { s.Must(os.Remove(filepath.Join(dir, "manifest.json"))) }, "top manifest", "nothing"},
		"the manifest of another":   {func(s *store, dir string) { s.Write(filepath.Join(dir, "manifest.json"), string(base.Raw)) }, "top manifest", "the manifest of another image"},
		"the version": {func(s *store, dir string) {
			s.Write(filepath.Join(dir, "version"), "Directory Transport Version: 9.9\n")
		}, "top version", "not the version"},
		"not a signature":        {func(s *store, dir string) { s.Write(filepath.Join(dir, "signature-1"), "hello") }, "top signature", "not a signature"},
		"a signature of another": {func(s *store, dir string) { s.Write(filepath.Join(dir, "signature-1"), sigstoreFor(base.Digest)) }, "top signature", "one for"},
		"signatures that are right": {func(s *store, dir string) {
			s.Write(filepath.Join(dir, "signature-1"), sigstoreFor(top.Digest))
			s.Write(filepath.Join(dir, "signature-2"), "\x99\x01")
		}, "", ""},
		"another list next to it": {func(s *store, dir string) { s.Write(filepath.Join(filepath.Dir(dir), "manifest-list.json"), "{}") }, "top list", "sha256:"},
		"a published list": {func(s *store, _ string) {
			list := images.NewList(images.Of(base))
			s.Must(s.Cache.PublishFile(context.Background(), list.Digest, list.Raw))
			s.flip(s.Cache.FilePath(list.Digest))
		}, "file", "sha256:"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			s.Publish(base, 1, "example.com/base:1")
			s.Publish(top, 1, "example.com/top:1")
			c.spoil(s, s.Cache.ImagePath(top.ID))
			v := s.verify()
			if got := sorted(parts(v.Damaged)); got != sorted(c.want) {
				t.Fatalf("damaged is %q, want %q: %v", got, c.want, v.Damaged)
			}
			if len(v.Damaged) > 0 && !strings.HasPrefix(v.Damaged[len(v.Damaged)-1].Got, c.got) {
				t.Errorf("got %q, want %q", v.Damaged[len(v.Damaged)-1].Got, c.got)
			}
			for _, d := range v.Damaged {
				if d.Path == "" || d.Title == "" || d.Image != "" && d.What != PartVersion && d.What != PartSignature && d.What != PartList && d.Digest == "" {
					t.Errorf("not all is said: %+v", d)
				}
			}
		})
	}
}

func sigstoreFor(d digest.Digest) string {
	payload := fmt.Sprintf(`{"critical":{"image":{"docker-manifest-digest":%q},"identity":{"docker-reference":"x"}}}`, d)
	raw := fmt.Sprintf(`{"mimeType":"application/vnd.dev.cosign.simplesigning.v1+json","payload":%q}`, base64.StdEncoding.EncodeToString([]byte(payload)))
	return string(cacheinfo.SigstorePrefix) + raw
}

// viaList publishes an image pinned by a list.
func (s *store) viaList(img *images.Image, list *images.List, origins ...digest.Digest) {
	s.T.Helper()
	s.Publish(img, 1)
	m, err := manifest.Parse(img.Raw)
	s.Must(err)
	pub := &cache.Image{Manifest: img.Raw, List: list.Raw, Blobs: m.Blobs()}
	for n, d := range origins {
		pub.Origins = append(pub.Origins, cache.Origin{Name: fmt.Sprint("example.com/name", n), Digest: d})
	}
	s.Must(s.Cache.Publish(s.T.Context(), s.Pool, img.ID, pub))
}

// An image pinned by a list is checked with the records, the list and the manifest together.
func TestVerifyLists(t *testing.T) {
	list, twin := images.NewList(images.Of(base, other)), images.NewList(images.Of(base, top))
	manifestFile := func(s *store) string { return filepath.Join(s.Cache.ImagePath(base.ID), "manifest.json") }
	listFile := func(s *store) string {
		return filepath.Join(filepath.Dir(s.Cache.ImagePath(base.ID)), "manifest-list.json")
	}
	same := func(*store) {}
	for name, c := range map[string]struct {
		origins   []digest.Digest
		spoil     func(s *store)
		want      string
		unvouched bool
	}{
		"right":                         {[]digest.Digest{list.Digest}, same, "", false},
		"right, pinned both ways":       {[]digest.Digest{list.Digest, base.Digest}, same, "", false},
		"right, nothing recorded":       {nil, same, "", true},
		"right, imported with a list":   {[]digest.Digest{base.Digest}, same, "", false},
		"list changed where it is idle": {[]digest.Digest{list.Digest}, func(s *store) { s.Write(listFile(s), string(list.Raw)+"\n") }, "base list", false},
		"the same, pinned both ways":    {[]digest.Digest{list.Digest, base.Digest}, func(s *store) { s.Write(listFile(s), string(list.Raw)+"\n") }, "base list", false},
		"list no JSON":                  {[]digest.Digest{list.Digest}, func(s *store) { s.Write(listFile(s), "{") }, "base list", false},
		"list no JSON, not recorded":    {nil, func(s *store) { s.Write(listFile(s), "{") }, "base list", true},
		"another list":                  {[]digest.Digest{list.Digest}, func(s *store) { s.Write(listFile(s), string(twin.Raw)) }, "base list", false},
		"list gone":                     {[]digest.Digest{list.Digest}, func(s *store) { s.Must(os.Remove(listFile(s))) }, "base manifest", false},
		"manifest changed":              {[]digest.Digest{list.Digest}, func(s *store) { s.Write(manifestFile(s), string(base.Raw)+"\n") }, "base manifest", false},
		"manifest changed, both ways":   {[]digest.Digest{list.Digest, base.Digest}, func(s *store) { s.Write(manifestFile(s), string(base.Raw)+"\n") }, "base manifest", false},
		"manifest changed, no record":   {nil, func(s *store) { s.Write(manifestFile(s), string(base.Raw)+"\n") }, "base list", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			s.viaList(base, list, c.origins...)
			c.spoil(s)
			v := s.verify()
			if got := parts(v.Damaged); got != c.want {
				t.Errorf("damaged is %q, want %q: %v", got, c.want, v.Damaged)
			}
			if got := len(v.Unvouched) > 0; got != (c.unvouched && c.want == "") {
				t.Errorf("unvouched: %v", v.Unvouched)
			}
		})
	}
}

// Files removed or replaced while they are read do not count as damaged.
func TestVerifyWhileTheCacheChanges(t *testing.T) {
	s := newStore(t)
	s.Publish(base, 1, "example.com/base:1")
	s.Publish(top, 1, "example.com/top:1")
	before := s.scan()
	s.Must(os.RemoveAll(filepath.Dir(s.Cache.ImagePath(top.ID))))
	v, err := Verify(t.Context(), s.Cache, before, true, nil)
	s.Must(err)
	if len(v.Damaged) > 0 || v.Images != 1 {
		t.Errorf("removed before: %d images, damaged %v", v.Images, v.Damaged)
	}
	r := &reader{cache: s.Cache, files: map[cache.FileID]*reading{}}
	s.Must(r.collect(s.scan(), true))
	s.Must(os.RemoveAll(filepath.Dir(s.Cache.ImagePath(base.ID))))
	s.Must(os.RemoveAll(filepath.Join(s.Dir, "org.osbuild.containers/.pool")))
	s.Must(r.read(t.Context()))
	if v := new(Verified); len(r.settle(v)) > 0 || len(v.Damaged) > 0 {
		t.Errorf("removed meanwhile: %v", v.Damaged)
	}
	s.Pool.Close()
	s.Open(s.Dir)
	s.Publish(base, 1, "example.com/base:1")
	r = &reader{cache: s.Cache, files: map[cache.FileID]*reading{}}
	s.Must(r.collect(s.scan(), true))
	s.Must(os.RemoveAll(s.Cache.ImagePath(base.ID)))
	s.Publish(base, 1, "example.com/base:1")
	s.flip(s.Blob(base, base.ID))
	s.Must(r.read(t.Context()))
	v = new(Verified)
	if again := r.settle(v); len(again) != 1 || again[0].ID != base.ID {
		t.Errorf("replaced meanwhile: %v, damaged %v", again, v.Damaged)
	}
}

func TestVerifyEndsWithItsContext(t *testing.T) {
	s := newStore(t)
	s.Publish(base, 1, "example.com/base:1")
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := Verify(ctx, s.Cache, s.scan(), true, nil); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// Layers from a storage have no pinned manifest; the config has their digests.
func TestVerifyOfWhatIsFromAStorage(t *testing.T) {
	s := newStore(t)
	s.Publish(base, 1)
	s.Must(s.Cache.AddOrigin(s.T.Context(), base.ID, cache.Origin{Name: "localhost/base", Transport: request.ContainersStorage, Digest: digest.FromString("in the store")}))
	if v := s.verify(); len(v.Damaged)+len(v.Unvouched) > 0 {
		t.Errorf("damaged %v, unvouched %v", v.Damaged, v.Unvouched)
	}
	s.flip(s.Blob(base, base.Layers[0].Digest))
	if v := s.verify(base); parts(v.Damaged) != "base layer" {
		t.Errorf("damaged %v", v.Damaged)
	}
}

// An image replaced by another form after the scan is checked with its current records.
func TestVerifyGoesByWhatIsRecordedNow(t *testing.T) {
	s := newStore(t)
	s.Publish(base, 1, "example.com/base:1")
	path := filepath.Join(filepath.Dir(s.Cache.ImagePath(base.ID)), "source.json")
	now, err := os.ReadFile(path)
	s.Must(err)
	s.Write(path, strings.ReplaceAll(string(now), base.Digest.String(), other.Digest.String()))
	before := s.scan()
	s.Write(path, string(now))
	v, err := Verify(t.Context(), s.Cache, before, true, nil)
	s.Must(err)
	if len(v.Damaged) > 0 {
		t.Errorf("damaged: %v", v.Damaged)
	}
}
