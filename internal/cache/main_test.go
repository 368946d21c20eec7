package cache

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
	"osbuild-containers/test/calls"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	calls.Main()
	if os.Getenv(jobVariable) != "" {
		os.Exit(runJob())
	}
	os.Exit(m.Run())
}

// content is the bytes of a blob; another seed gives another blob.
func content(seed uint64, size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(fmt.Sprint(seed)))).Read(b)
	return b
}

func descriptor(b []byte) manifest.Descriptor {
	return manifest.Descriptor{Digest: digest.FromBytes(b), Size: int64(len(b))}
}

// newCache is a cache with its pool open, in a directory of the test's own that need not be on disk.
func newCache(t testing.TB) (*Cache, *Pool) {
	t.Helper()
	return openCache(t, filepath.Join(memoryDir(t), "cache"))
}

func openCache(t testing.TB, dir string) (*Cache, *Pool) {
	t.Helper()
	c := Open(dir)
	p, err := c.OpenPool(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return c, p
}

// put brings a blob into the pool.
func put(p *Pool, b []byte) error {
	d := descriptor(b)
	w, err := p.Acquire(context.Background(), d.Digest, d.Size, nil)
	if errors.Is(err, ErrExists) {
		return nil
	}
	if err != nil {
		return err
	}
	defer w.Close()
	n, err := w.Resume(context.Background())
	if err != nil {
		return err
	}
	if err := w.append(b[n:]); err != nil {
		return err
	}
	if err := w.Verify(); err != nil { // what an earlier writer left was wrong
		if err := w.Reset(); err != nil {
			return err
		}
		if err := w.append(b); err != nil {
			return err
		}
	}
	return w.Commit()
}

// linkFile links a file into the pool, if it is the blob.
func (p *Pool) linkFile(ctx context.Context, path string, d digest.Digest, size int64) (bool, error) {
	w, err := p.Acquire(ctx, d, size, nil)
	if errors.Is(err, ErrExists) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer w.Close()
	return w.Link(ctx, func() (*os.File, error) { return os.OpenFile(path, unix.O_NOFOLLOW|unix.O_NONBLOCK, 0) })
}

// append writes in pieces, as a download comes.
func (w *Writer) append(b []byte) error {
	for piece := range slices.Chunk(b, max(1, (len(b)+2)/3)) {
		if _, err := w.ReadFrom(bytesReader(piece)); err != nil {
			return err
		}
	}
	return nil
}

// picture is an image to be published.
type picture struct {
	*Image
	id      digest.Digest
	content [][]byte // of the blobs
}

// draw makes an image of a config and two layers; variants have the same id, but another
// manifest and layers.
func draw(seed, variant uint64) picture {
	p := picture{Image: &Image{Signatures: [][]byte{fmt.Append(nil, "signed ", seed, variant)}}}
	p.content = [][]byte{content(seed, 200), content(1000*seed+10*variant, 5000), content(1000*seed+10*variant+1, 300<<10)}
	for _, b := range p.content {
		p.Blobs = append(p.Blobs, descriptor(b))
	}
	p.id = p.Blobs[0].Digest
	raw, err := json.Marshal(p.Blobs)
	if err != nil {
		panic(err)
	}
	p.Manifest = raw
	return p
}

// publish brings the blobs into the pool and publishes the image.
func (p picture) publish(c *Cache, pool *Pool) error {
	for _, b := range p.content {
		if err := put(pool, b); err != nil {
			return err
		}
	}
	return c.Publish(context.Background(), pool, p.id, p.Image)
}

// check compares what is published, all of it, with the image.
func (p picture) check(c *Cache) error {
	want := map[string]string{versionFile: version, manifestFile: string(p.Manifest)}
	for i, s := range p.Signatures {
		want[signatureFile(i+1)] = string(s)
	}
	for i, b := range p.Blobs {
		want[b.Digest.Encoded()] = string(p.content[i])
	}
	dir := c.ImagePath(p.id)
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		got, err := os.ReadFile(filepath.Join(dir, n.Name()))
		if err != nil {
			return err
		}
		if w, ok := want[n.Name()]; !ok || w != string(got) {
			return fmt.Errorf("%s is wrong, or not expected", n.Name())
		}
		delete(want, n.Name())
	}
	if len(want) > 0 {
		return fmt.Errorf("%d files are missing", len(want))
	}
	return nil
}

// mustPublish publishes and checks.
func (p picture) mustPublish(t testing.TB, c *Cache, pool *Pool) {
	t.Helper()
	if err := p.publish(c, pool); err != nil {
		t.Fatal(err)
	}
	if err := p.check(c); err != nil {
		t.Fatal(err)
	}
}

// leftovers lists what nothing needs: stages, and partial files.
func leftovers(dir string) []string {
	var left []string
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		for _, pattern := range []string{
			containersDir + "/.pool/staging/*", containersDir + "/.pool/partial/*",
			containersDir + "/*/image-*", filesDir + "/.new-*",
		} {
			if ok, _ := filepath.Match(pattern, rel); ok && err == nil {
				left = append(left, rel)
			}
		}
		return nil
	})
	return left
}

// wantNothingLeft fails the test if there are leftovers.
func wantNothingLeft(t testing.TB, c *Cache) {
	t.Helper()
	if left := leftovers(filepath.Dir(c.containers)); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// must fails the test at once.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func writeTest(t testing.TB, path string, b []byte) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, b, 0o644))
}

// same reports whether two names are of one file.
func same(t testing.TB, a, b string) bool {
	t.Helper()
	x, err := os.Lstat(a)
	must(t, err)
	y, err := os.Lstat(b)
	must(t, err)
	return os.SameFile(x, y)
}

func modeOf(t testing.TB, path string) fs.FileMode {
	t.Helper()
	fi, err := os.Lstat(path)
	must(t, err)
	return fi.Mode().Perm()
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
}

// memoryDir is a directory for a test that makes many caches, if possible in memory, where syncs are
// for nothing.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "cache-test-") //nolint:usetesting // it chooses the file system
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// testDir opens a directory of a test.
func testDir(t testing.TB, path string) *dir {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return &dir{f: f, path: path}
}

// imageOf is the directory in which an image is.
func imageOf(t testing.TB, c *Cache, img picture) *dir {
	t.Helper()
	return testDir(t, filepath.Dir(c.ImagePath(img.id)))
}

// readOriginsAt reads the origins in a directory, none where it is missing.
func readOriginsAt(path string) ([]Origin, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil // not there yet
	}
	defer f.Close()
	return readOrigins(&dir{f: f, path: path}, originFile)
}

// path returns the path of a complete blob.
func (p *Pool) path(d digest.Digest) string { return p.blobs.join(d.Encoded()) }
