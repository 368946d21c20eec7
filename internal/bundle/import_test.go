package bundle

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/test/caches"
	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
)

func TestDirectoriesInDirFormat(t *testing.T) {
	img := images.New(images.Layer(10_000), images.Layer(300))
	dir := t.TempDir()
	from, into := filepath.Join(dir, "image"), filepath.Join(dir, "cache")
	inputs.WriteDir(t, from, img, "one", "two")
	r := only(t, bring(t, into, from))
	if r.State != Added || r.ID != img.ID || r.Manifest != img.Digest || len(r.Names) != 0 {
		t.Errorf("%+v", r)
	}
	if !bytes.Equal(wantImage(t, into, img.ID), img.Raw) {
		t.Error("the manifest is another one")
	}
	pub, err := cache.Open(into).OpenImage(img.ID)
	must(t, err)
	defer pub.Close()
	sigs, err := pub.Signatures()
	must(t, err)
	if len(sigs) != 2 || string(sigs[1]) != "two" {
		t.Errorf("signatures are %q", sigs)
	}
	if o, err := pub.Origins(); err != nil || len(o) != 1 || o[0].Name != from || o[0].Transport != "dir" {
		t.Errorf("recorded is %+v, %v", o, err)
	}
	before, err := os.Stat(filepath.Join(from, img.Layers[0].Digest.Encoded()))
	must(t, err)
	after, err := os.Stat(pub.BlobPath(img.Layers[0].Digest))
	must(t, err)
	if os.SameFile(before, after) {
		t.Error("who changes the directory changes the cache")
	}
}

func TestSignaturesAreExported(t *testing.T) {
	img := images.New(images.Layer(1000))
	dir := t.TempDir()
	inputs.WriteDir(t, filepath.Join(dir, "image"), img, "one", "two")
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	bring(t, first, filepath.Join(dir, "image"))
	out := Output{Path: filepath.Join(dir, "images.tar"), Format: FormatArchive}
	must(t, exportAll(t.Context(), first, out))
	if r := only(t, bring(t, second, out.Path)); r.State != Added {
		t.Fatalf("%+v", r)
	}
	pub, err := cache.Open(second).OpenImage(img.ID)
	must(t, err)
	defer pub.Close()
	if sigs, err := pub.Signatures(); err != nil || len(sigs) != 2 || string(sigs[0]) != "one" {
		t.Errorf("signatures are %q, %v", sigs, err)
	}
}

// TestSchema1IsExported imports a schema 1 image from a directory, exports it and imports it again: the original manifest and its
// signatures, which pin the image, are included.
func TestSchema1IsExported(t *testing.T) {
	img := images.Schema1("a/b", "v1", images.Layer(1000), images.Use(images.EmptyLayer), images.Layer(300))
	dir := t.TempDir()
	from := filepath.Join(dir, "image")
	inputs.WriteDir(t, from, img, "one", "two")
	must(t, os.Remove(filepath.Join(from, img.ID.Encoded())))
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	if r := only(t, bring(t, first, from)); r.State != Added || r.ID != img.ID {
		t.Fatalf("%+v", r)
	}
	out := Output{Path: filepath.Join(dir, "images.tar"), Format: FormatArchive}
	must(t, exportAll(t.Context(), first, out))
	if r := only(t, bring(t, second, out.Path)); r.State != Added || r.ID != img.ID {
		t.Fatalf("%+v", r)
	}
	wantImage(t, second, img.ID)
	pub, err := cache.Open(second).OpenImage(img.ID)
	must(t, err)
	defer pub.Close()
	old, err := pub.Schema1()
	must(t, err)
	if old == nil || !bytes.Equal(old.Manifest, img.Raw) || len(old.Signatures) != 2 || string(old.Signatures[1]) != "two" {
		t.Errorf("what it was converted from is %+v", old)
	}
	if sigs, err := pub.Signatures(); err != nil || len(sigs) != 0 {
		t.Errorf("signatures of another manifest are published: %q, %v", sigs, err)
	}
	if r := only(t, bring(t, second, out.Path)); r.State != Cached {
		t.Errorf("imported again: %+v", r)
	}
}

// TestSchema1OfAnother imports an image with the attached schema 1 manifest of another image, which is refused.
func TestSchema1OfAnother(t *testing.T) {
	s := caches.New(t)
	img, other := images.Schema1("a/b", "v1", images.Layer(1000)), images.Schema1("a/b", "v1", images.Layer(2000))
	s.Schema1(img, 1, "example.com/old:1")
	p, err := pick(s.Cache, Wanted{ID: img.ID})
	must(t, err)
	defer p.close()
	signedBytes := func(n int) []byte { // a signature that says how many bytes of the manifest are signed
		var m map[string]json.RawMessage
		must(t, json.Unmarshal(img.Raw, &m))
		protected := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"formatLength": %d, "formatTail": "Cn0"}`, n))
		m["signatures"] = fmt.Appendf(nil, `[{"header": {"alg": "ES256"}, "protected": %q}]`, protected)
		raw, err := json.Marshal(m)
		must(t, err)
		return raw
	}
	for want, raw := range map[string][]byte{
		"it is the manifest of another image, ":                  other.Raw,
		"manifest has an invalid signature: it cannot be parsed": signedBytes(-1),
		"manifest has an invalid signature: ":                    signedBytes(1 << 40),
	} {
		artifact, parts := attachment(p, schema1Type, [][]byte{raw})
		entries := []map[string]any{entry(p.raw, v1.MediaTypeImageManifest, "example.com/old:1"), entry(artifact, v1.MediaTypeImageManifest, "")}
		blobs := append([][]byte{p.raw, img.Config, img.Layers[0].Blob, artifact}, parts...)
		r := only(t, bring(t, t.TempDir(), write(t, layoutOf(entries, blobs...)...)))
		if r.State != Failed || !strings.Contains(r.Err.Error(), "manifest of schema 1 that is attached: "+want) {
			t.Errorf("got %+v, want %s", r, want)
		}
	}
}

// TestAListComesWithItsImages imports two of three images of a list, and an attestation.
func TestAListComesWithItsImages(t *testing.T) {
	one, two, three := images.New(images.Layer(100)), images.New(images.Arch("arm64"), images.Layer(200)), images.New(images.Arch("s390x"))
	attestation := images.New(images.Artifact("application/vnd.example"), images.MediaType("application/vnd.oci.image.manifest.v1+json"))
	list := images.NewList(images.Of(one, two, three, attestation))
	blobs := append(append(blobsOf(one), blobsOf(two)...), list.Raw)
	path := write(t, layoutOf([]map[string]any{entry(list.Raw, v1.MediaTypeImageIndex, "example.com/app:1")}, blobs...)...)
	dir := t.TempDir()
	done := bring(t, dir, path)
	if len(done.Results) != 3 || done.Format != FormatArchive {
		t.Fatalf("%+v", done)
	}
	for _, r := range done.Results {
		if r.State != Added || len(r.Names) != 1 || r.Names[0] != "example.com/app:1" {
			t.Errorf("%+v", r)
		}
	}
	c := cache.Open(dir)
	if raw, err := c.ReadFile(list.Digest); err != nil || !bytes.Equal(raw, list.Raw) {
		t.Error("the list is not there")
	}
	wantImage(t, dir, one.ID)
	pub, err := c.OpenImage(two.ID)
	must(t, err)
	defer pub.Close()
	if raw, err := pub.List(); err != nil || digest.FromBytes(raw) != list.Digest {
		t.Errorf("what is pinned by the list would not be found: %v", err)
	}
}

// TestDamaged pairs damage of a layout with the error. Damaged images are not published, all others are.
func TestDamaged(t *testing.T) {
	img, good := images.New(images.Layer(20_000)), images.New(images.Layer(300))
	flipped := bytes.Clone(img.Layers[0].Blob)
	flipped[10_000] ^= 1
	name := func(d digest.Digest) string { return "blobs/sha256/" + d.Encoded() }
	layer, config := name(img.Layers[0].Digest), name(img.ID)
	for what, c := range map[string]struct {
		file string
		data []byte // nil: missing
		want string
	}{
		"a byte of a layer":    {layer, flipped, "digest mismatch: got " + digest.FromBytes(flipped).String()},
		"the end of a layer":   {layer, img.Layers[0].Blob[:19_000], "size mismatch: got 19000 bytes, want"},
		"more than a layer":    {layer, append(bytes.Clone(img.Layers[0].Blob), 0), "size mismatch: got"},
		"no layer":             {layer, nil, "is neither in"},
		"a byte of the config": {config, append([]byte(" "), img.Config[1:]...), "digest mismatch"},
		"the manifest":         {name(img.Digest), append([]byte(" "), img.Raw...), "digest mismatch: got sha256:"},
		"no manifest":          {name(img.Digest), nil, "is missing"},
	} {
		t.Run(what, func(t *testing.T) {
			files := layoutOf([]map[string]any{entry(img.Raw, img.MediaType, "example.com/app:1"), entry(good.Raw, good.MediaType, "")},
				append(blobsOf(img), blobsOf(good)...)...)
			var changed []file
			for _, f := range files {
				switch {
				case f.name != c.file:
					changed = append(changed, f)
				case c.data != nil:
					changed = append(changed, file{f.name, c.data})
				}
			}
			dir := t.TempDir()
			done := bring(t, dir, write(t, changed...))
			failed := 0
			for _, r := range done.Results {
				if r.State != Failed {
					continue
				}
				failed++
				if text := hint.Text(r.Err, hint.Flags); !strings.Contains(text, c.want) || r.ID != "" && !strings.Contains(text, "example.com/app:1") {
					t.Errorf("%v\nwant %s", r.Err, c.want)
				}
			}
			if failed != 1 || len(done.Results) != 2 {
				t.Errorf("%+v", done.Results)
			}
			wantImage(t, dir, good.ID)
			if ids, err := cache.Open(dir).Images(); err != nil || len(ids) != 1 {
				t.Errorf("published are %v, %v", ids, err)
			}
		})
	}
}

// TestRefused pairs input without images with the error.
func TestRefused(t *testing.T) {
	img := plain(1, 1000)
	other := plain(2, 1000)
	swap := func(files []file, name string, data []byte) []file {
		for n := range files {
			if files[n].name == name {
				files[n].data = data
			}
		}
		return files
	}
	for what, c := range map[string]struct {
		files []file
		want  string
	}{
		"nothing":           {[]file{{"a", nil}}, "there is neither an index.json"},
		"index":             {[]file{{"oci-layout", nil}, {"index.json", []byte("[]")}}, "index is not JSON as it should be: it is of the type array"},
		"no image":          {layoutOf(nil), "there is no image in it"},
		"an artifact":       {layoutOf([]map[string]any{entry([]byte("{}"), "application/vnd.example", "a")}, []byte("{}")), "is left out: "},
		"config":            {swap(saved(img, asIs), img.ID.Encoded()+".json", other.Config), "digest mismatch: got sha256:"},
		"layers":            {append(saved(img, asIs)[:2], file{"manifest.json", toJSON([]any{map[string]any{"Config": img.ID.Encoded() + ".json"}})}), "its config names 1 layers, and the archive has 0 of it"},
		"no layer":          {saved(img, asIs)[:1:1], "there is neither"},
		"a layer elsewhere": {append(saved(img, asIs)[:1], saved(img, asIs)[2]), `"0/layer.tar" is missing`},
		"packed layer":      {swap(saved(img, zipped), "0/layer.tar", zipped(other.Layers[0].Blob)), " has digest sha256:"},
		"parent":            {oldSave(plain(2, 10, 10), "")[3:], "is missing"},
		"name of nothing":   {oldSave(plain(2, 10, 10), `{"a": {"b": "cc"}}`), "which is missing"},
		"dir":               {[]file{{"manifest.json", []byte("{}")}}, "manifest has neither layers nor manifests"},
	} {
		t.Run(what, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cache")
			path := write(t, c.files...)
			_, err := Import(t.Context(), cache.Open(dir), path, ImportOptions{}, nil)
			if err == nil || !strings.Contains(hint.Text(err, hint.Flags), c.want) || !strings.HasPrefix(err.Error(), path+": ") {
				t.Errorf("%v\nwant %s", err, c.want)
			}
			if _, err := os.Stat(dir); err == nil {
				t.Error("there is a cache now")
			}
		})
	}
}

// Two forms of one image cannot both be in a cache.
func TestTwoFormsOfAnImage(t *testing.T) {
	one := images.New(images.Layer(1000))
	two := images.New(images.ConfigBytes(one.Config), images.Use(one.Layers[0]), images.Annotation("another", "form"))
	path := write(t, layoutOf([]map[string]any{entry(one.Raw, v1.MediaTypeImageManifest, "example.com/app:1"), entry(two.Raw, v1.MediaTypeImageManifest, "example.com/app:2")},
		append(blobsOf(one), two.Raw)...)...)
	dir := t.TempDir()
	done := bring(t, dir, path)
	if done.Results[0].State != Added || done.Results[1].State != Failed || !strings.Contains(done.Results[1].Err.Error(), "a cache holds one") {
		t.Errorf("%+v", done.Results)
	}
	if !bytes.Equal(wantImage(t, dir, one.ID), one.Raw) {
		t.Error("it is the other one")
	}
}

// TestRepair damages a cache: only with repair is it verified, and only damaged files are replaced.
func TestRepair(t *testing.T) {
	img := images.New(images.Layer(5000), images.Layer(20_000))
	path := write(t, layoutOf([]map[string]any{entry(img.Raw, v1.MediaTypeImageManifest, "")}, blobsOf(img)...)...)
	dir := t.TempDir()
	bring(t, dir, path)
	damage := func() {
		f, err := os.OpenFile(filepath.Join(cache.Open(dir).ImagePath(img.ID), img.Layers[1].Digest.Encoded()), os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteAt([]byte("damage"), 300)
		must(t, err)
		must(t, f.Close())
	}
	repair := func(path string) Result {
		done, err := Import(t.Context(), cache.Open(dir), path, ImportOptions{Repair: true}, nil)
		must(t, err)
		return only(t, done)
	}
	if r := repair(path); r.State != Cached || r.Bytes != 0 {
		t.Errorf("nothing is damaged: %+v", r)
	}
	damage()
	if r := only(t, bring(t, dir, path)); r.State != Cached {
		t.Errorf("not wanted: %+v", r)
	}
	if r := repair(path); r.State != Added || r.Bytes != img.Layers[1].Size || r.Err != nil {
		t.Errorf("wanted: %+v", r)
	}
	wantImage(t, dir, img.ID)

	damage()
	without := write(t, layoutOf([]map[string]any{entry(img.Raw, v1.MediaTypeImageManifest, "")}, blobsOf(img)[:3]...)...)
	if r := repair(without); r.State != Failed || !strings.Contains(r.Err.Error(), "blob "+img.Layers[1].Digest.String()+" is neither in") {
		t.Errorf("from where it is not: %+v", r)
	}
}

// The cache's list and signatures of an image are kept.
func TestCachedAttachmentsStay(t *testing.T) {
	img := images.New(images.Layer(1000))
	list := images.NewList(images.Of(img))
	bare := write(t, layoutOf([]map[string]any{entry(img.Raw, v1.MediaTypeImageManifest, "")}, blobsOf(img)...)...)
	listed := write(t, layoutOf([]map[string]any{entry(list.Raw, v1.MediaTypeImageIndex, "")}, append(blobsOf(img), list.Raw)...)...)
	from, dir := t.TempDir(), t.TempDir()
	inputs.WriteDir(t, from, img, "one")
	want := func(what string, withList bool) {
		t.Helper()
		pub, err := cache.Open(dir).OpenImage(img.ID)
		must(t, err)
		defer pub.Close()
		sigs, err := pub.Signatures()
		must(t, err)
		raw, err := pub.List()
		must(t, err)
		if len(sigs) != 1 || (raw != nil) != withList {
			t.Errorf("%s: %d signatures, list %q", what, len(sigs), raw)
		}
	}
	bring(t, dir, from)
	bring(t, dir, listed)
	want("a list came", true)
	_, err := Import(t.Context(), cache.Open(dir), bare, ImportOptions{Repair: true}, nil)
	must(t, err)
	want("repaired from where neither is", true)
}

// The cache's signatures of an image are not replaced by imported ones, whatever is repaired.
func TestStoredSignaturesStay(t *testing.T) {
	img := images.New(images.Layer(1000))
	other := images.New(images.Layer(1000), images.ConfigBytes(img.Config), images.Annotation("of", "another form"))
	for name, c := range map[string]struct {
		spoil func(path string) error
		from  *images.Image
		want  string
	}{
		"intact":           {func(string) error { return nil }, img, "stored"},
		"blob damaged":     {func(path string) error { return os.Truncate(filepath.Join(path, img.Layers[0].Digest.Encoded()), 3) }, img, "stored"},
		"blob missing":     {func(path string) error { return os.Remove(filepath.Join(path, img.Layers[0].Digest.Encoded())) }, img, "stored"},
		"manifest damaged": {func(path string) error { return os.Truncate(filepath.Join(path, "manifest.json"), 3) }, img, "stored"},
		"manifest missing": {func(path string) error { return os.Remove(filepath.Join(path, "manifest.json")) }, img, "stored"},
		"another form":     {func(string) error { return nil }, other, "imported"},
	} {
		stored, imported, dir := t.TempDir(), t.TempDir(), t.TempDir()
		inputs.WriteDir(t, stored, img, "stored")
		inputs.WriteDir(t, imported, c.from, "imported")
		bring(t, dir, stored)
		must(t, c.spoil(cache.Open(dir).ImagePath(img.ID)))
		done, err := Import(t.Context(), cache.Open(dir), imported, ImportOptions{Repair: true}, nil)
		must(t, err)
		if r := only(t, done); r.Err != nil {
			t.Errorf("%s: %v", name, r.Err)
		}
		pub, err := cache.Open(dir).OpenImage(img.ID)
		must(t, err)
		sigs, err := pub.Signatures()
		must(t, err)
		pub.Close()
		if len(sigs) != 1 || string(sigs[0]) != c.want {
			t.Errorf("%s: got %q, want %s", name, sigs, c.want)
		}
	}
}

// A panic while importing an image is an error of that image.
func TestImportPanic(t *testing.T) {
	in := &importer{from: &input{}, log: progress.NewLog(io.Discard)} // without a cache
	if r := in.image(t.Context(), &foundImage{m: &manifest.Manifest{}}, nil); r.State != Failed || !strings.Contains(r.Err.Error(), "internal error: ") {
		t.Errorf("got %+v", r)
	}
}
