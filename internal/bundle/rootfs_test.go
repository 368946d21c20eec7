package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ulikunitz/xz"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/verify"
)

// tarOf returns a tar archive of files, the last of which is the newest.
func tarOf(t testing.TB, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for n, name := range names {
		must(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: 4, ModTime: time.Unix(1_700_000_000+int64(n), 0)}))
		_, err := w.Write([]byte("data"))
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

// compressed returns data in all formats.
func compressed(t testing.TB, data []byte) [][]byte {
	t.Helper()
	all := [][]byte{data}
	for _, open := range []func(io.Writer) (io.WriteCloser, error){
		func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
		func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
		func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) },
	} {
		var b bytes.Buffer
		w, err := open(&b)
		must(t, err)
		_, err = w.Write(data)
		must(t, errors.Join(err, w.Close()))
		all = append(all, b.Bytes())
	}
	return all
}

// The same archive gives the same image, however it is compressed, from a file or a stream. It is published and verified under
// its name, with the time of its newest file.
func TestImportRootfs(t *testing.T) {
	var first Result
	for n, data := range append(compressed(t, tarOf(t, "a", "b")), nil) {
		dir := filepath.Join(t.TempDir(), "cache")
		r := Rootfs{Name: "example.com/root:1", Config: v1.Image{Platform: v1.Platform{OS: "linux", Architecture: "arm64"}}}
		r.Config.Config.Cmd = []string{"/a"}
		if n%2 == 0 && data != nil {
			r.Path = filepath.Join(t.TempDir(), "root")
			must(t, os.WriteFile(r.Path, data, 0o644))
		} else if r.Stdin = bytes.NewReader(data); data == nil {
			r.Stdin = bytes.NewReader(tarOf(t, "a", "b"))
		}
		done, err := ImportRootfs(t.Context(), cache.Open(dir), r, ImportOptions{}, nil)
		must(t, err)
		got := only(t, done)
		must(t, got.Err)
		if first.ID == "" {
			first = got
		}
		if got.ID != first.ID || got.Manifest != first.Manifest || done.Format != "tarball" {
			t.Errorf("%d: image %s, manifest %s, want %s, %s", n, got.ID, got.Manifest, first.ID, first.Manifest)
		}
		images, err := cacheinfo.Scan(cache.Open(dir))
		must(t, err)
		i := images[0]
		if i.Title() != "example.com/root:1 arm64" || i.Problem != "" || !i.Created.Equal(time.Unix(1_700_000_001, 0)) {
			t.Errorf("%d: got %+v", n, i)
		}
		if v, err := verify.Verify(t.Context(), cache.Open(dir), images, true, nil); err != nil || len(v.Damaged) > 0 {
			t.Errorf("%d: %v %v", n, v, err)
		}
		d, err := cacheinfo.Inspect(cache.Open(dir), i)
		must(t, err)
		var config v1.Image
		must(t, json.Unmarshal(d.Config.Raw, &config))
		if len(config.RootFS.DiffIDs) != 1 || len(d.Layers) != 1 || len(config.History) != 1 || config.Config.Cmd[0] != "/a" {
			t.Errorf("%d: config %+v", n, config)
		}
	}
}

// A directory gives the same image each time, with hard links and the given time.
func TestImportRootfsDirectory(t *testing.T) {
	root := t.TempDir()
	must(t, os.WriteFile(filepath.Join(root, "a"), []byte("data"), 0o600))
	must(t, os.Link(filepath.Join(root, "a"), filepath.Join(root, "b")))
	at := time.Unix(1_600_000_000, 0).UTC()
	var ids []string
	for range 2 {
		dir := filepath.Join(t.TempDir(), "cache")
		done, err := ImportRootfs(t.Context(), cache.Open(dir), Rootfs{Path: root, Name: "example.com/root:1", Epoch: &at}, ImportOptions{}, nil)
		must(t, err)
		must(t, only(t, done).Err)
		images, err := cacheinfo.Scan(cache.Open(dir))
		must(t, err)
		if !images[0].Created.Equal(at) {
			t.Errorf("created %s, want %s", images[0].Created, at)
		}
		ids = append(ids, string(images[0].ID))
	}
	if ids[0] != ids[1] {
		t.Errorf("two images, %s", ids)
	}
}

func TestImportRootfsRefused(t *testing.T) {
	whole := tarOf(t, "a", "b")
	long := append(bytes.Clone(whole), bytes.Repeat([]byte{0}, 10240)...)
	for want, data := range map[string][]byte{
		"not a tar archive":                            bytes.Repeat([]byte("text "), 300),
		"the archive is cut off: unexpected EOF":       whole[:514],
		"the archive has no end: it is cut off":        whole[:1024],
		"the archive has no files":                     nil,
		"there is data after the end of the archive":   append(bytes.Clone(whole), 'x'),
		"it has images, and is not a root file system": tarOf(t, "./oci-layout", "index.json", "a"),
		"decompress: unexpected EOF":                   compressed(t, bytes.Repeat(whole, 1))[1][:60],
		"":                                             long,
	} {
		dir := filepath.Join(t.TempDir(), "cache")
		_, err := ImportRootfs(t.Context(), cache.Open(dir), Rootfs{Stdin: bytes.NewReader(data), Name: "example.com/root:1"}, ImportOptions{}, nil)
		if want == "" {
			must(t, err)
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), "standard input: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: a cache was made", want)
		}
	}
}
