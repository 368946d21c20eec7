package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

var epoch = time.Unix(1_700_000_000, 0).UTC()

// testImage returns an image with an epoch.
func testImage(c Compression) Image {
	return Image{
		Platform:    v1.Platform{Architecture: "amd64", OS: "linux"},
		Created:     epoch,
		Epoch:       &epoch,
		Compression: c,
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustBeRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// write writes a file with the epoch as its time.
func write(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(content), 0o644))
	setTime(t, path, epoch)
}

// setTime sets the time of path without following a link.
func setTime(t *testing.T, path string, when time.Time) {
	t.Helper()
	ts := unix.NsecToTimespec(when.UnixNano())
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
}

// pack packs the trees and returns the path of the archive.
func pack(t *testing.T, img Image, trees ...string) string {
	t.Helper()
	dir := t.TempDir()
	var layers []Layer
	for i, tree := range trees {
		layers = append(layers, Layer{Name: []string{"base", "layer.1", "layer.2"}[i], Path: tree})
	}
	must(t, Archive(context.Background(), dir, "image.tar", layers, img, t.Logf))
	return filepath.Join(dir, "image.tar")
}

// content is the verified content of an archive: every blob matches the digest in its name.
type content struct {
	names    []string
	files    map[string][]byte
	headers  []*tar.Header
	manifest v1.Manifest
	config   v1.Image
}

func read(t *testing.T, path string) content {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	c := content{files: map[string][]byte{}}
	for tr := tar.NewReader(f); ; {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		data, err := io.ReadAll(tr)
		must(t, err)
		c.names, c.headers, c.files[hdr.Name] = append(c.names, hdr.Name), append(c.headers, hdr), data
		if base := filepath.Base(hdr.Name); len(base) == 64 && digest.FromBytes(data).Encoded() != base {
			t.Errorf("%s has the digest %s", hdr.Name, digest.FromBytes(data))
		}
	}
	var index v1.Index
	must(t, json.Unmarshal(c.files["index.json"], &index))
	must(t, json.Unmarshal(c.blob(t, index.Manifests[0]), &c.manifest))
	must(t, json.Unmarshal(c.blob(t, c.manifest.Config), &c.config))
	return c
}

func (c content) blob(t *testing.T, d v1.Descriptor) []byte {
	t.Helper()
	b, ok := c.files["blobs/sha256/"+d.Digest.Encoded()]
	if !ok || int64(len(b)) != d.Size {
		t.Fatalf("blob %s has %d bytes, want %d", d.Digest, len(b), d.Size)
	}
	return b
}

// layer returns an uncompressed layer, verified against its diff ID.
func (c content) layer(t *testing.T, i int) []byte {
	t.Helper()
	l := c.manifest.Layers[i]
	raw := unpack(t, l.MediaType, c.blob(t, l))
	if got, want := digest.FromBytes(raw), c.config.RootFS.DiffIDs[i]; got != want {
		t.Errorf("layer %d has the diff id %s, the config says %s", i, got, want)
	}
	return raw
}

func unpack(t testing.TB, mediaType string, b []byte) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(b)
	switch mediaType {
	case v1.MediaTypeImageLayerGzip:
		z, err := gzip.NewReader(r)
		must(t, err)
		z.Multistream(false) // expect one member
		r = z
	case v1.MediaTypeImageLayerZstd:
		z, err := zstd.NewReader(r)
		must(t, err)
		defer z.Close()
		r = z
	}
	raw, err := io.ReadAll(r)
	must(t, err)
	return raw
}
