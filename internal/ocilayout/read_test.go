package ocilayout_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/ocilayout"
	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
)

func write(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func compressed(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Bytes()
}

// same compares all of an image with what it was made from.
func same(t *testing.T, got *ocilayout.Image, err error, want *images.Image) {
	t.Helper()
	if err != nil {
		t.Error(err)
		return
	}
	defer got.Close()
	if !bytes.Equal(got.Raw(), want.Raw) {
		t.Errorf("manifest is %s", got.Raw())
	}
	for i, l := range got.Manifest().Layers {
		b, err := got.Blob(l)
		if err != nil {
			t.Error(err)
			continue
		}
		if data, err := io.ReadAll(b.Reader()); err != nil || !bytes.Equal(data, want.Layers[i].Blob) {
			t.Errorf("layer %d has %d bytes that are not its own, %v", i, len(data), err)
		}
	}
}

func TestTheSameImageFromEverything(t *testing.T) {
	img := images.New(images.Layers(2, 10_000), images.LayerAs(images.Zstd, 500))
	dir := t.TempDir()
	inputs.WriteDir(t, dir, img, "one", "two")
	got, err := ocilayout.OpenDir(t.Context(), dir)
	same(t, got, err, img)
	if sigs := got.Signatures(); len(sigs) != 2 || string(sigs[0]) != "one" || string(sigs[1]) != "two" {
		t.Errorf("signatures %q", sigs)
	}
	archive := inputs.Archive(img)
	for _, data := range [][]byte{archive, compressed(archive)} {
		got, err := ocilayout.OpenArchive(write(t, data))
		same(t, got, err, img)
	}
}

// TestOneImageOfAList reads a directory with a list instead of a manifest, as osbuild makes it for an image and its list.
func TestOneImageOfAList(t *testing.T) {
	img, other := images.New(images.Layer(100)), images.New(images.Layer(200), images.Arch("arm64"))
	list := images.NewList(images.Of(other, img))
	dir := t.TempDir()
	inputs.WriteDir(t, dir, img)
	put := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("manifest.json", list.Raw)
	if _, err := ocilayout.OpenDir(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "none of its images") {
		t.Errorf("got %v", err)
	}
	put(img.Digest.Encoded()+".manifest.json", img.Raw)
	got, err := ocilayout.OpenDir(t.Context(), dir)
	same(t, got, err, img)
	put(other.Digest.Encoded()+".manifest.json", other.Raw)
	if _, err := ocilayout.OpenDir(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "several images") {
		t.Errorf("got %v", err)
	}
}

func TestArchivesThatAreRefused(t *testing.T) {
	one, two := images.New(images.Layer(100_000)), images.New(images.Layer(200))
	archive := inputs.Archive(one)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"two images": {inputs.Archive(one, two), "there are 2 images in it, want one: " + one.Digest.String() + ` "number-0"`},
		"no image":   {inputs.Archive(), "there is no image in it"},
		"empty":      {nil, "there is no oci-layout in it"},
		"text":       {[]byte(strings.Repeat("no tar ", 200)), "read archive: "},
		"cut":        {archive[:len(archive)/2], "cut off"},
		"cut gzip":   {compressed(archive)[:300], "decompress: unexpected EOF"},
		"manifest":   {bytes.Replace(archive, []byte(`"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest`), []byte(`"schemaVersion":2,"mediaType":"application/vnd.oci.image.MANIFEST`), 1), "digest mismatch: got sha256:"},
	} {
		img, err := ocilayout.OpenArchive(write(t, c.data))
		if err == nil {
			img.Close()
		}
		if err == nil || !strings.Contains(err.Error()+"\n"+hint.Of(err).Field, c.want) {
			t.Errorf("%s\ngot  %v\nwant …%s…", name, err, c.want)
		}
	}
	// One image under two names counts once.
	got, err := ocilayout.OpenArchive(write(t, inputs.Archive(one, one)))
	same(t, got, err, one)
}

// TestSchema1Dir checks that a schema 1 image in a directory, as copied by skopeo, is converted and its layers verified.
func TestSchema1Dir(t *testing.T) {
	img := images.Schema1("a/b", "v1", images.Layer(1000), images.Use(images.EmptyLayer), images.Layer(500))
	dir := t.TempDir()
	inputs.WriteDir(t, dir, img)
	if err := os.Remove(filepath.Join(dir, img.ID.Encoded())); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ocilayout.OpenDir(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want one of the context", err)
	}
	got, err := ocilayout.OpenDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	m := got.Manifest()
	if m.Config.Digest != img.ID || len(m.Layers) != 2 || m.Layers[1].Digest != img.Layers[2].Digest {
		t.Errorf("got %+v, want the config %s", m, img.ID)
	}
	for _, d := range m.Blobs() {
		b, err := got.Blob(d)
		if err != nil {
			t.Fatal(err)
		}
		if raw, err := io.ReadAll(b.Reader()); err != nil || digest.FromBytes(raw) != d.Digest {
			t.Errorf("%s has other content (%v)", d.Digest, err)
		}
	}
	layer := filepath.Join(dir, img.Layers[0].Digest.Encoded())
	if err := os.WriteFile(layer, img.Layers[2].Blob, 0o600); err != nil {
		t.Fatal(err)
	}
	want := "image in " + dir + ": layer " + img.Layers[0].Digest.String() + ": digest mismatch: got " + img.Layers[2].Digest.String() + ", want " + img.Layers[0].Digest.String()
	if _, err := ocilayout.OpenDir(t.Context(), dir); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestRefusedDirectories(t *testing.T) {
	img := images.New(images.Layer(100))
	layer := img.Layers[0].Digest.Encoded()
	for name, c := range map[string]struct {
		spoil func(dir string) error
		want  string
	}{
		"no manifest": {func(dir string) error { return os.Remove(dir + "/manifest.json") }, "there is no manifest.json"},
		"no layer":    {func(dir string) error { return os.Remove(dir + "/" + layer) }, "is missing"},
		"short layer": {func(dir string) error { return os.Truncate(dir+"/"+layer, 3) }, " has size 3 bytes, want"},
		"layer elsewhere": {func(dir string) error {
			_ = os.Remove(dir + "/" + layer)
			return os.Symlink("/etc/passwd", dir+"/"+layer)
		}, "escapes"},
		"schema 1": {func(dir string) error { return os.WriteFile(dir+"/manifest.json", images.Schema1("x", "y").Raw, 0o600) }, "no layers in fsLayers"},
		"manifest a directory": {func(dir string) error {
			_ = os.Remove(dir + "/manifest.json")
			return os.Mkdir(dir+"/manifest.json", 0o700)
		}, "not a regular file"},
	} {
		dir := t.TempDir()
		inputs.WriteDir(t, dir, img)
		if err := c.spoil(dir); err != nil {
			t.Fatal(err)
		}
		got, err := ocilayout.OpenDir(t.Context(), dir)
		if err == nil {
			_, err = got.Blob(got.Manifest().Layers[0])
			got.Close()
		}
		if err == nil || !strings.Contains(err.Error()+"\n"+hint.Of(err).Field, c.want) {
			t.Errorf("%s\ngot  %v\nwant …%s…", name, err, c.want)
		}
	}
}

// TestLinksInArchives has chains of links that end at a file, nowhere, or in a cycle.
func TestLinksInArchives(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	put := func(h *tar.Header, content string) {
		t.Helper()
		h.Size = int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, content)
	}
	put(&tar.Header{Name: "file", Typeflag: tar.TypeReg}, "content")
	last := "file"
	for n := range 10 {
		name := "link" + strconv.Itoa(n)
		put(&tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: last}, "")
		last = name
	}
	put(&tar.Header{Name: "circle", Typeflag: tar.TypeLink, Linkname: "round"}, "")
	put(&tar.Header{Name: "round", Typeflag: tar.TypeLink, Linkname: "circle"}, "")
	put(&tar.Header{Name: "out", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, "")
	_ = w.Close()
	tree, err := ocilayout.OpenTree(t.Context(), write(t, b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	for n := range 10 {
		if raw, err := tree.Document("link"+strconv.Itoa(n), ""); string(raw) != "content" {
			t.Errorf("link%d: got %q, %v", n, raw, err)
		}
	}
	for _, name := range []string{"circle", "round", "out"} {
		if _, err := tree.File(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestLongNamesInArchives has an entry with a huge name.
func TestLongNamesInArchives(t *testing.T) {
	for _, h := range []tar.Header{
		{Name: strings.Repeat("n", 5000), Typeflag: tar.TypeReg},
		{Name: "link", Linkname: strings.Repeat("n", 5000), Typeflag: tar.TypeSymlink},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		_ = w.Close()
		tree, err := ocilayout.OpenTree(t.Context(), write(t, b.Bytes()))
		if err == nil {
			tree.Close()
		}
		if err == nil || !strings.HasSuffix(err.Error(), "more than the limit of 4095") {
			t.Errorf("got %v", err)
		}
	}
}

// TestDecompressionEndsWithItsContext cancels the decompression of an archive.
func TestDecompressionEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tree, err := ocilayout.OpenTree(ctx, write(t, compressed(inputs.Archive(images.New()))))
	if err == nil {
		tree.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A FIFO instead of an archive is refused without blocking.
func TestArchiveThatIsAFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.tar")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ocilayout.OpenArchive(path); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("error is %v", err)
	}
}
