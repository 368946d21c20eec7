package verify

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// repair verifies and repairs, and returns what was repaired and what is left.
func (s *servedStore) repair() (mended, left string) {
	s.T.Helper()
	v := s.verify()
	o := request.DefaultOptions()
	o.Retries = 0
	r := &Repairer{Dir: s.Dir, Options: o, Log: progress.NewLog(&s.log)}
	out, err := r.Repair(s.T.Context(), s.scan(), v.Damaged)
	s.Must(err)
	var rest []Damage
	for _, l := range out.Left {
		rest = append(rest, l.Damage)
		if l.Why == nil {
			s.T.Errorf("%s: it is not said why it is left", &l.Damage)
		}
	}
	return sorted(parts(out.Mended)), sorted(parts(rest))
}

func TestRepair(t *testing.T) {
	layer, own := base.Layers[0], top.Layers[1]
	for name, c := range map[string]struct {
		spoil func(s *servedStore, dir string) // the directory of top
		fetch int64                            // bytes of blobs
		left  string
	}{
		"a shared layer":          {func(s *servedStore, _ string) { s.flip(s.Blob(top, layer.Digest)) }, layer.Size, ""},
		"a layer of its own":      {func(s *servedStore, _ string) { s.Must(os.Truncate(s.Blob(top, own.Digest), 9)) }, own.Size, ""},
		"a config":                {func(s *servedStore, _ string) { s.flip(s.Blob(top, top.ID)) }, int64(len(top.Config)), ""},
		"a name, the pool has it": {func(s *servedStore, _ string) { s.Must(os.Remove(s.Blob(top, own.Digest))) }, 0, ""},
		"the pool, an image has it": {func(s *servedStore, _ string) {
			p := s.Cache.PooledPath(own.Digest)
			s.Must(os.Remove(p))
			s.Write(p, "x")
		}, 0, ""},
		"the version": {func(s *servedStore, dir string) {
			s.Write(filepath.Join(dir, "version"), "Directory Transport Version: 9.9\n")
		}, 0, ""},
		"the manifest": {func(s *servedStore, dir string) { s.Write(filepath.Join(dir, "manifest.json"), string(top.Raw)+" ") }, 0, ""},
		"a signature":  {func(s *servedStore, dir string) { s.Write(filepath.Join(dir, "signature-1"), "x") }, 0, ""},
		"all of it": {func(s *servedStore, dir string) {
			for _, name := range []string{top.ID.Encoded(), layer.Digest.Encoded(), own.Digest.Encoded(), "manifest.json"} {
				s.flip(filepath.Join(dir, name))
			}
		}, top.Size(), ""},
		"a copy, another image has it": {func(s *servedStore, _ string) {
			s.Must(os.RemoveAll(filepath.Join(s.Dir, "org.osbuild.containers/.pool")))
			s.Must(os.Remove(s.Blob(top, layer.Digest)))
			s.Write(s.Blob(top, layer.Digest), string(layer.Blob[:len(layer.Blob)-1])+"x")
		}, 0, ""},
		"what is of unknown origin, and is here": {func(s *servedStore, dir string) {
			s.Must(os.Remove(filepath.Join(filepath.Dir(dir), "source.json")))
			s.Must(os.Remove(s.Blob(top, layer.Digest)))
		}, 0, ""},
		"what another brings": {func(s *servedStore, dir string) {
			s.Must(os.Remove(filepath.Join(filepath.Dir(dir), "source.json")))
			s.flip(s.Blob(top, layer.Digest))
		}, layer.Size, ""},
		"what is of unknown origin": {func(s *servedStore, dir string) {
			s.Must(os.Remove(filepath.Join(filepath.Dir(dir), "source.json")))
			s.flip(s.Blob(top, own.Digest))
		}, 0, "top layer"},
		"what is from elsewhere": {func(s *servedStore, dir string) {
			text := `{"version":1,"sources":[{"name":"` + s.name + `","digest":"` + other.Digest.String() + `"},{"name":"` + s.name + `:x","digest":"` + top.Digest.String() + `"}]}`
			s.Write(filepath.Join(filepath.Dir(dir), "source.json"), text)
			s.flip(s.Blob(top, own.Digest))
		}, own.Size, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServedStore(t, base, top, other)
			s.Publish(base, 1, s.name+":1")
			s.Publish(top, 2, s.name+":2")
			c.spoil(s, s.Cache.ImagePath(top.ID))
			found := s.verify().Damaged
			if len(found) == 0 {
				t.Fatal("nothing is damaged")
			}
			mended, left := s.repair()
			if left != c.left || len(mended)+len(left) == 0 {
				t.Errorf("mended %q, left %q, want %q\n%s", mended, left, c.left, s.log.String())
			}
			if got := s.f.BytesSent("/blobs/"); got != c.fetch {
				t.Errorf("fetched %d bytes of blobs, want %d\n%s", got, c.fetch, s.log.String())
			}
			if got := s.verify().Damaged; parts(got) != c.left {
				t.Errorf("damaged afterwards: %v", got)
			}
			if c.left != "" {
				return
			}
			for _, img := range []*images.Image{base, top} {
				if raw, err := os.ReadFile(s.Blob(img, layer.Digest)); err != nil || digest.FromBytes(raw) != layer.Digest {
					t.Errorf("the layer of %s: %v", img.ID, err)
				}
			}
			for name := range map[string]bool{"partial": true, "staging": true} {
				if rest, _ := os.ReadDir(filepath.Join(s.Dir, "org.osbuild.containers/.pool", name)); len(rest) > 0 {
					t.Errorf("left in %s: %v", name, rest)
				}
			}
		})
	}
}

// TestSchema1 pairs damage of a converted image with what is found, and repairs it.
func TestSchema1(t *testing.T) {
	old := images.Schema1("a/b", "v1", images.Layer(1000), images.Layer(500))
	another := images.Schema1("a/b", "v1", images.Layer(1000), images.Layer(600))
	for name, c := range map[string]struct {
		spoil func(s *servedStore, dir string) // the directory that contains image/
		want  string
	}{
		"right":                   {func(*servedStore, string) {}, ""},
		"schema1.json, one bit":   {func(s *servedStore, dir string) { s.flip(filepath.Join(dir, "schema1.json")) }, "schema1"},
		"schema1.json of another": {func(s *servedStore, dir string) { s.Write(filepath.Join(dir, "schema1.json"), string(another.Raw)) }, "schema1"},
		"schema1.json gone":       {func(s *servedStore, dir string) { s.Must(os.Remove(filepath.Join(dir, "schema1.json"))) }, "manifest"},
		"the manifest": {func(s *servedStore, dir string) {
			at := filepath.Join(dir, "image/manifest.json")
			raw, err := os.ReadFile(at)
			s.Must(err)
			s.Write(at, string(raw)+" ")
		}, "schema1"},
		"a layer":      {func(s *servedStore, _ string) { s.flip(s.Blob(old, old.Layers[0].Digest)) }, "layer"},
		"the config":   {func(s *servedStore, _ string) { s.flip(s.Blob(old, old.ID)) }, "config"},
		"no signature": {func(s *servedStore, dir string) { s.Write(filepath.Join(dir, "schema1-signature-1"), "x") }, "signature"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServedStore(t)
			s.f.On(registry.Any("/manifests/|/blobs/"), registry.Handle(old.Handler()))
			s.Schema1(old, 1, s.name)
			c.spoil(s, filepath.Dir(s.Cache.ImagePath(old.ID)))
			v := s.verify()
			var found []string
			for _, d := range v.Damaged {
				found = append(found, string(d.What))
			}
			if got := strings.Join(found, " "); got != c.want || len(v.Unvouched) > 0 {
				t.Fatalf("damaged is %q, want %q: %+v", got, c.want, v)
			}
			if c.want == "" {
				return
			}
			if _, left := s.repair(); left != "" {
				t.Errorf("left: %q\n%s", left, s.log.String())
			}
			if v := s.verify(); len(v.Damaged) > 0 {
				t.Errorf("damaged afterwards: %+v", v.Damaged)
			}
		})
	}
}

// A process that reads a damaged image during its repair sees the old one or the new one.
func TestRepairExchangesTheImage(t *testing.T) {
	s := newServedStore(t, base)
	s.Publish(base, 1, s.name)
	before, err := os.Stat(s.Cache.ImagePath(base.ID))
	s.Must(err)
	s.flip(s.Blob(base, base.ID))
	stop, seen := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				seen <- nil
				return
			default:
				if _, err := os.Lstat(filepath.Join(s.Cache.ImagePath(base.ID), "version")); err != nil {
					seen <- err
					return
				}
			}
		}
	}()
	_, left := s.repair()
	close(stop)
	if err := <-seen; err != nil || left != "" {
		t.Errorf("seen meanwhile: %v; left %q", err, left)
	}
	if after, err := os.Stat(s.Cache.ImagePath(base.ID)); err != nil || os.SameFile(before, after) {
		t.Errorf("the image was changed in place: %v", err)
	}
}

func TestRepairOfLists(t *testing.T) {
	list := images.NewList(images.Of(base, other))
	s := newServedStore(t, list)
	s.viaList(base, list)
	s.Must(s.Cache.AddOrigin(s.T.Context(), base.ID, cache.Origin{Name: s.name + ":latest", Digest: list.Digest}))
	s.Must(s.Cache.PublishFile(t.Context(), list.Digest, list.Raw))
	strange := []byte(`{"what": "another source of osbuild fetched"}`)
	s.Must(s.Cache.PublishFile(t.Context(), digest.FromBytes(strange), strange))
	s.flip(s.Cache.FilePath(list.Digest))
	s.flip(s.Cache.FilePath(digest.FromBytes(strange)))
	s.Write(filepath.Join(filepath.Dir(s.Cache.ImagePath(base.ID)), "manifest-list.json"), "{}")
	mended, left := s.repair()
	if mended != "base list, file" || left != "file" {
		t.Errorf("mended %q, left %q\n%s", mended, left, s.log.String())
	}
	if raw, err := s.Cache.ReadFile(list.Digest); err != nil || !bytes.Equal(raw, list.Raw) {
		t.Error("the list is not right")
	}
	if n := s.f.BytesSent("/blobs/"); n != 0 {
		t.Errorf("%d bytes of blobs were fetched", n)
	}
}

// An origin that does not answer is named, the stored files are kept, and another origin is tried.
func TestRepairThatFails(t *testing.T) {
	s := newServedStore(t, base)
	s.Publish(base, 1, s.name)
	s.flip(s.Blob(base, base.ID))
	s.f.On(registry.Any("/v2/a/"), registry.Status(404, ""))
	if mended, left := s.repair(); mended != "" || left != "base config" {
		t.Errorf("mended %q, left %q", mended, left)
	}
	if _, err := os.Stat(s.Blob(base, base.Layers[0].Digest)); err != nil {
		t.Errorf("what was right is away: %v", err)
	}
	if _, err := os.Stat(s.Cache.PooledPath(base.ID)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the damaged blob is in the pool: %v", err)
	}
}

// Each image that cannot be fetched has its own hint.
func TestRemedies(t *testing.T) {
	for want, origins := range map[string][]cache.Origin{
		"the image has no recorded origin\nfetch it by NAME@DIGEST, which records that, and repair again":                    nil,
		"it was imported from /media/x.tar\nimport that again with --repair":                                                 {{Name: "x", Transport: "oci-archive", From: "/media/x.tar", Digest: base.Digest}},
		"the recorded origins have another form of the image\nfetch it by NAME@DIGEST, which records that, and repair again": {{Name: "x", Digest: other.Digest}},
	} {
		i := &cacheinfo.Image{ID: base.ID, Manifest: base.Digest, Origins: origins}
		if got := hint.Text(notFetched(i), hint.Flags); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if places := usable(i, nil); len(places) > 0 {
			t.Errorf("it would be fetched from %v", places)
		}
	}
}

// Of several places the latest is tried first, then the others.
func TestRepairFromTheSecondPlace(t *testing.T) {
	s := newServedStore(t, base)
	s.Publish(base, 1, s.name)
	s.Publish(base, 2, strings.Replace(s.name, "/a/", "/b/", 1))
	s.flip(s.Blob(base, base.ID))
	if mended, left := s.repair(); mended != "base config" || left != "" {
		t.Errorf("mended %q, left %q\n%s", mended, left, s.log.String())
	}
	if n := len(s.f.Matching(registry.Any("/v2/b/"))); n == 0 {
		t.Error("the latest place was not asked")
	}
}

// Intact files of an image are not replaced by pooled blobs, which are not verified if only that image was.
func TestRepairTrustsNoPool(t *testing.T) {
	s := newServedStore(t, top)
	s.Publish(top, 1, s.name)
	right, wrong := s.Blob(top, top.Layers[1].Digest), s.Cache.PooledPath(top.Layers[1].Digest)
	raw, err := os.ReadFile(right)
	s.Must(err)
	s.Must(os.Remove(right)) // as on file systems without hard links
	s.Must(os.WriteFile(right, raw, 0o644))
	s.flip(wrong)
	s.flip(s.Blob(top, top.ID))
	r := &Repairer{Dir: s.Dir, Options: request.DefaultOptions(), Log: progress.NewLog(&s.log)}
	out, err := r.Repair(s.T.Context(), s.scan(), s.verify(top).Damaged)
	s.Must(err)
	if got := parts(s.verify().Damaged); got != "" || len(out.Left) > 0 {
		t.Errorf("damaged afterwards: %q, left %v", got, out.Left)
	}
	if n := s.f.BytesSent("/blobs/"); n != int64(len(top.Config)) {
		t.Errorf("%d bytes of blobs were fetched", n)
	}
}

// An invalid record is ignored, and other images are repaired.
func TestRepairWithARecordThatIsDamaged(t *testing.T) {
	list := images.NewList(images.Of(base, other))
	s := newServedStore(t, base, other, list)
	s.Publish(base, 1, s.name)
	s.Publish(other, 1, s.name)
	s.Must(s.Cache.PublishFile(t.Context(), list.Digest, list.Raw))
	dir := filepath.Dir(s.Cache.ImagePath(base.ID))
	s.Write(filepath.Join(dir, "source.json"), `{"version":1,"sources":[{"name":"../x","digest":"`+base.Digest.String()+`"},{"name":"x","digest":"../../y"}]}`)
	for _, path := range []string{s.Blob(base, base.ID), filepath.Join(dir, "image", "manifest.json"), s.Blob(other, other.ID), s.Cache.FilePath(list.Digest)} {
		s.flip(path)
	}
	if mended, left := s.repair(); mended != "file, other config" || left != "base config, base manifest" {
		t.Errorf("mended %q, left %q\n%s", mended, left, s.log.String())
	}
}
