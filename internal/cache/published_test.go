package cache

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/manifest"
)

// replace puts something else where a file of the image is. The file itself is a link into the pool.
func replace(t *testing.T, path string, put func(path string) error) {
	t.Helper()
	must(t, os.Remove(path))
	must(t, put(path))
}

func bytesOf(b []byte) func(string) error {
	return func(path string) error { return os.WriteFile(path, b, 0o644) }
}

func TestImageHasItsBlobsOnlyWithTheirSizes(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"absent":    func(string) error { return nil },
		"short":     bytesOf(make([]byte, 4999)),
		"long":      bytesOf(make([]byte, 5001)),
		"empty":     bytesOf(nil),
		"directory": func(path string) error { return os.Mkdir(path, 0o755) },
		"link": func(path string) error {
			return errors.Join(bytesOf(make([]byte, 5000))(path+"x"), os.Symlink(path+"x", path))
		},
		"pipe": func(path string) error { return unix.Mkfifo(path, 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			c, p := newCache(t)
			img := draw(1, 0)
			img.mustPublish(t, c, p)
			pub, err := c.OpenImage(img.id)
			must(t, err)
			defer pub.Close()
			if !pub.Has(img.Blobs) || !pub.Has(nil) {
				t.Fatal("it is not complete from the start")
			}
			replace(t, pub.BlobPath(img.Blobs[1].Digest), put)
			if pub.Has(img.Blobs) {
				t.Error("it is taken for complete")
			}
			if !pub.Has(img.Blobs[2:]) {
				t.Error("what is there is not found")
			}
		})
	}
}

func TestSmallFilesAreReadOnlyIfTheyAreFiles(t *testing.T) {
	for name, c := range map[string]struct {
		put  func(path string) error
		want error  // nil: any
		says string // of each file
	}{
		"absent":    {func(string) error { return nil }, os.ErrNotExist, "no such file"},
		"directory": {func(path string) error { return os.Mkdir(path, 0o755) }, nil, "is not a regular file"},
		"pipe":      {func(path string) error { return unix.Mkfifo(path, 0o644) }, nil, "is not a regular file"},
		"link":      {func(path string) error { return os.Symlink(versionFile, path) }, nil, "too many levels of symbolic links"},
		"too long":  {bytesOf(make([]byte, manifest.MaxSize+1)), nil, "is 4194305 bytes long, the limit is 4194304"},
	} {
		t.Run(name, func(t *testing.T) {
			ca, p := newCache(t)
			img := draw(1, 0)
			img.mustPublish(t, ca, p)
			pub, err := ca.OpenImage(img.id)
			must(t, err)
			defer pub.Close()
			replace(t, filepath.Join(pub.Path(), manifestFile), c.put)
			if got, err := pub.Manifest(); err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("manifest: %d bytes, %v", len(got), err)
			} else if !strings.Contains(err.Error(), c.says) {
				t.Errorf("error is %v, want %s", err, c.says)
			}
			replace(t, pub.BlobPath(img.id), c.put)
			if got, err := pub.Config(img.Blobs[0]); err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("config: %d bytes, %v", len(got), err)
			}
			replace(t, filepath.Join(pub.Path(), signatureFile(1)), c.put)
			if got, err := pub.Signatures(); len(got) > 0 || (err == nil) != (c.want != nil) { // no signature is not an error
				t.Errorf("signatures: %d, %v", len(got), err)
			}
		})
	}
}

func TestConfigIsVerified(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	img.mustPublish(t, c, p)
	pub, err := c.OpenImage(img.id)
	must(t, err)
	defer pub.Close()
	if got, err := pub.Config(img.Blobs[0]); err != nil || string(got) != string(img.content[0]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	replace(t, pub.BlobPath(img.id), bytesOf(make([]byte, 200)))
	if _, err := pub.Config(img.Blobs[0]); !manifest.IsMismatch(err) {
		t.Errorf("error is %v", err)
	}
}

func TestNoDescriptorStaysOpen(t *testing.T) {
	c, p := newCache(t)
	open := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(names)
	}
	use := func(seed uint64) {
		img := draw(seed, 0)
		img.List = []byte("list")
		img.mustPublish(t, c, p)
		img.mustPublish(t, c, p)
		draw(seed, 1).mustPublish(t, c, p)
		must(t, c.PublishFile(t.Context(), img.id, img.List))
		for _, path := range []string{c.ImagePath(img.id), "/nowhere"} {
			if ok, err := p.linkFile(t.Context(), path, descriptor(content(seed, 7)).Digest, 7); ok || err != nil {
				t.Error(ok, err)
			}
		}
	}
	use(0)
	before := open()
	for seed := range uint64(10) {
		use(seed)
	}
	if after := open(); after > before+3 { // the runtime opens some
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
}
