package keep

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
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/request"
	"osbuild-containers/test/images"
)

// verify verifies the whole cache, or some of its images.
func (s *store) verify(some ...*images.Image) *Verified {
	s.t.Helper()
	all := s.scan()
	chosen := slices.DeleteFunc(slices.Clone(all), func(i *Image) bool {
		return len(some) > 0 && !slices.ContainsFunc(some, func(img *images.Image) bool { return img.ID == i.ID })
	})
	v, err := Verify(s.t.Context(), s.c, chosen, len(some) == 0, nil)
	s.must(err)
	return v
}

// flip changes one bit of a file, in place.
func (s *store) flip(path string) {
	s.t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	s.must(err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, 20)
	s.must(err)
	b[0] ^= 4
	_, err = f.WriteAt(b, 20)
	s.must(err)
}

func (s *store) write(path, text string) { s.must(os.WriteFile(path, []byte(text), 0o644)) }

// parts is what is damaged, in short.
func parts(damaged []Damage) string {
	var all []string
	for _, d := range damaged {
		name := map[digest.Digest]string{base.ID: "base ", top.ID: "top ", other.ID: "other ", "": ""}[d.Image]
		all = append(all, name+string(d.What))
	}
	return strings.Join(all, ", ")
}

// sorted makes a text of what is separated by commas one that can be compared.
func sorted(text string) string {
	all := strings.Split(text, ", ")
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func TestVerifyReadsEachFileOnce(t *testing.T) {
	s := newStore(t)
	s.publish(base, 1, "example.com/base:1")
	s.publish(top, 2, "example.com/top:1")
	s.foreign(other, 3)
	loose := []byte("nobody has it")
	s.put(digest.FromBytes(loose), loose)
	list := images.NewList(images.Of(base))
	s.must(s.c.PublishFile(t.Context(), list.Digest, list.Raw))
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
	pooled := func(s *store, d digest.Digest) string { return s.c.PooledPath(d) }
	for name, c := range map[string]struct {
		spoil func(s *store, dir string) // the directory of top
		want  string
		got   string // of the first
	}{
		"nothing":                     {func(*store, string) {}, "", ""},
		"a shared layer, one bit":     {func(s *store, _ string) { s.flip(s.blob(top, layer)) }, "base layer, top layer", "sha256:"},
		"a layer of its own, one bit": {func(s *store, _ string) { s.flip(s.blob(top, own)) }, "top layer", "sha256:"},
		"a layer cut":                 {func(s *store, _ string) { s.must(os.Truncate(s.blob(top, own), 5)) }, "blob, top layer", "5 bytes, want "},
		"a layer gone":                {func(s *store, _ string) { s.must(os.Remove(s.blob(top, own))) }, "top layer", "nothing"},
		"a config, one bit":           {func(s *store, _ string) { s.flip(s.blob(top, top.ID)) }, "top config", "sha256:"},
		"a layer that is a link": {func(s *store, _ string) {
			p := s.blob(top, own)
			s.must(os.Remove(p))
			s.must(os.Symlink("/dev/zero", p))
		}, "top layer", own.Encoded() + " is no regular file"},
		"the pool only":             {func(s *store, _ string) { p := pooled(s, own); s.must(os.Remove(p)); s.write(p, "x") }, "blob", "sha256:"},
		"the manifest, one bit":     {func(s *store, dir string) { s.flip(filepath.Join(dir, "manifest.json")) }, "top manifest", ""},
		"the manifest, a line more": {func(s *store, dir string) { s.write(filepath.Join(dir, "manifest.json"), string(top.Raw)+"\n") }, "top manifest", "sha256:"},
		"the manifest gone":         {func(s *store, dir string) { s.must(os.Remove(filepath.Join(dir, "manifest.json"))) }, "top manifest", "open manifest.json"},
		"the manifest of another":   {func(s *store, dir string) { s.write(filepath.Join(dir, "manifest.json"), string(base.Raw)) }, "top manifest", "the manifest of another image"},
		"the version": {func(s *store, dir string) {
			s.write(filepath.Join(dir, "version"), "Directory Transport Version: 9.9\n")
		}, "top version", "not the version"},
		"a signature that is none": {func(s *store, dir string) { s.write(filepath.Join(dir, "signature-1"), "hello") }, "top signature", "no signature"},
		"a signature of another":   {func(s *store, dir string) { s.write(filepath.Join(dir, "signature-1"), sigstoreFor(base.Digest)) }, "top signature", "one for"},
		"signatures that are right": {func(s *store, dir string) {
			s.write(filepath.Join(dir, "signature-1"), sigstoreFor(top.Digest))
			s.write(filepath.Join(dir, "signature-2"), "\x99\x01")
		}, "", ""},
		"a list beside that is strange": {func(s *store, dir string) { s.write(filepath.Join(filepath.Dir(dir), "manifest-list.json"), "{}") }, "top list", "sha256:"},
		"a published list": {func(s *store, _ string) {
			list := images.NewList(images.Of(base))
			s.must(s.c.PublishFile(context.Background(), list.Digest, list.Raw))
			s.flip(s.c.FilePath(list.Digest))
		}, "file", "sha256:"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			s.publish(base, 1, "example.com/base:1")
			s.publish(top, 1, "example.com/top:1")
			c.spoil(s, s.c.ImagePath(top.ID))
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
	return string(sigstoreHead) + raw
}

// viaList publishes an image that was pinned by a list.
func (s *store) viaList(img *images.Image, list *images.List, origins ...digest.Digest) {
	s.t.Helper()
	s.publish(img, 1)
	m, err := manifest.Parse(img.Raw)
	s.must(err)
	pub := &cache.Image{Manifest: img.Raw, List: list.Raw, Blobs: m.Blobs()}
	for n, d := range origins {
		pub.Origins = append(pub.Origins, cache.Origin{Name: fmt.Sprint("example.com/name", n), Digest: d})
	}
	s.must(s.c.Publish(s.t.Context(), s.pool, img.ID, pub))
}

// What was pinned by a list is judged by what is recorded, by the list and by the manifest together.
func TestVerifyLists(t *testing.T) {
	list, twin := images.NewList(images.Of(base, other)), images.NewList(images.Of(base, top))
	manifestFile := func(s *store) string { return filepath.Join(s.c.ImagePath(base.ID), "manifest.json") }
	listFile := func(s *store) string {
		return filepath.Join(filepath.Dir(s.c.ImagePath(base.ID)), "manifest-list.json")
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
		"list changed where it is idle": {[]digest.Digest{list.Digest}, func(s *store) { s.write(listFile(s), string(list.Raw)+"\n") }, "base list", false},
		"the same, pinned both ways":    {[]digest.Digest{list.Digest, base.Digest}, func(s *store) { s.write(listFile(s), string(list.Raw)+"\n") }, "base list", false},
		"list no JSON":                  {[]digest.Digest{list.Digest}, func(s *store) { s.write(listFile(s), "{") }, "base list", false},
		"list no JSON, not recorded":    {nil, func(s *store) { s.write(listFile(s), "{") }, "base list", true},
		"another list":                  {[]digest.Digest{list.Digest}, func(s *store) { s.write(listFile(s), string(twin.Raw)) }, "base list", false},
		"list gone":                     {[]digest.Digest{list.Digest}, func(s *store) { s.must(os.Remove(listFile(s))) }, "base manifest", false},
		"manifest changed":              {[]digest.Digest{list.Digest}, func(s *store) { s.write(manifestFile(s), string(base.Raw)+"\n") }, "base manifest", false},
		"manifest changed, both ways":   {[]digest.Digest{list.Digest, base.Digest}, func(s *store) { s.write(manifestFile(s), string(base.Raw)+"\n") }, "base manifest", false},
		"manifest changed, no record":   {nil, func(s *store) { s.write(manifestFile(s), string(base.Raw)+"\n") }, "base list", true},
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

// What is removed or replaced while it is read is not taken for damaged.
func TestVerifyWhileTheCacheChanges(t *testing.T) {
	s := newStore(t)
	s.publish(base, 1, "example.com/base:1")
	s.publish(top, 1, "example.com/top:1")
	before := s.scan()
	s.must(os.RemoveAll(filepath.Dir(s.c.ImagePath(top.ID))))
	v, err := Verify(t.Context(), s.c, before, true, nil)
	s.must(err)
	if len(v.Damaged) > 0 || v.Images != 1 {
		t.Errorf("removed before: %d images, damaged %v", v.Images, v.Damaged)
	}
	r := &reader{cache: s.c, files: map[file]*reading{}}
	s.must(r.collect(s.scan(), true))
	s.must(os.RemoveAll(filepath.Dir(s.c.ImagePath(base.ID))))
	s.must(os.RemoveAll(filepath.Join(s.dir, "org.osbuild.containers/.pool")))
	s.must(r.read(t.Context()))
	if v := new(Verified); len(r.settle(v)) > 0 || len(v.Damaged) > 0 {
		t.Errorf("removed meanwhile: %v", v.Damaged)
	}
	s.pool.Close()
	s.open()
	s.publish(base, 1, "example.com/base:1")
	r = &reader{cache: s.c, files: map[file]*reading{}}
	s.must(r.collect(s.scan(), true))
	s.must(os.RemoveAll(s.c.ImagePath(base.ID)))
	s.publish(base, 1, "example.com/base:1")
	s.flip(s.blob(base, base.ID))
	s.must(r.read(t.Context()))
	v = new(Verified)
	if again := r.settle(v); len(again) != 1 || again[0].ID != base.ID {
		t.Errorf("replaced meanwhile: %v, damaged %v", again, v.Damaged)
	}
}

func TestVerifyEndsWithItsContext(t *testing.T) {
	s := newStore(t)
	s.publish(base, 1, "example.com/base:1")
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := Verify(ctx, s.c, s.scan(), true, nil); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// Layers from a storage have no manifest that was pinned; their digests are in the config.
func TestVerifyOfWhatIsFromAStorage(t *testing.T) {
	s := newStore(t)
	s.publish(base, 1)
	s.must(s.c.AddOrigin(s.t.Context(), base.ID, cache.Origin{Name: "localhost/base", Transport: request.ContainersStorage, Digest: digest.FromString("in the store")}))
	if v := s.verify(); len(v.Damaged)+len(v.Unvouched) > 0 {
		t.Errorf("damaged %v, unvouched %v", v.Damaged, v.Unvouched)
	}
	s.flip(s.blob(base, base.Layers[0].Digest))
	if v := s.verify(base); parts(v.Damaged) != "base layer" {
		t.Errorf("damaged %v", v.Damaged)
	}
}

// An image that was replaced by another form of it after the look at the cache is what is recorded of it now.
func TestVerifyGoesByWhatIsRecordedNow(t *testing.T) {
	s := newStore(t)
	s.publish(base, 1, "example.com/base:1")
	path := filepath.Join(filepath.Dir(s.c.ImagePath(base.ID)), "source.json")
	now, err := os.ReadFile(path)
	s.must(err)
	s.write(path, strings.ReplaceAll(string(now), base.Digest.String(), other.Digest.String()))
	before := s.scan()
	s.write(path, string(now))
	v, err := Verify(t.Context(), s.c, before, true, nil)
	s.must(err)
	if len(v.Damaged) > 0 {
		t.Errorf("damaged: %v", v.Damaged)
	}
}
