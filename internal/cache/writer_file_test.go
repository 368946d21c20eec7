package cache

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLinkTakesOnlyTheRightFile(t *testing.T) {
	b := content(1, 300_000)
	damaged := bytes.Clone(b)
	damaged[299_999] ^= 1
	for name, c := range map[string]struct {
		put    func(t *testing.T, path string)
		ok     bool
		linked bool
	}{
		"right": {put: func(t *testing.T, path string) { writeTest(t, path, b) }, ok: true, linked: true},
		"private": {put: func(t *testing.T, path string) {
			writeTest(t, path, b)
			must(t, os.Chmod(path, 0o600))
		}, ok: true},
		"that anybody can write": {put: func(t *testing.T, path string) {
			writeTest(t, path, b)
			must(t, os.Chmod(path, 0o666))
		}, ok: true},
		"set user id": {put: func(t *testing.T, path string) {
			writeTest(t, path, b)
			must(t, unix.Chmod(path, 0o4644))
		}, ok: true},
		"of another user": {put: func(t *testing.T, path string) {
			needRoot(t)
			writeTest(t, path, b)
			must(t, os.Chown(path, 1234, 0))
		}, ok: true},
		"damaged":   {put: func(t *testing.T, path string) { writeTest(t, path, damaged) }},
		"short":     {put: func(t *testing.T, path string) { writeTest(t, path, b[:1000]) }},
		"long":      {put: func(t *testing.T, path string) { writeTest(t, path, append(bytes.Clone(b), 1)) }},
		"absent":    {put: func(*testing.T, string) {}},
		"directory": {put: func(t *testing.T, path string) { must(t, os.MkdirAll(path, 0o755)) }},
		"pipe":      {put: func(t *testing.T, path string) { must(t, unix.Mkfifo(path, 0o644)) }},
		"link": {put: func(t *testing.T, path string) {
			writeTest(t, path+".x", b)
			link(t, path+".x", path)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			ca, p := newCache(t)
			path := filepath.Join(memoryDir(t), "blob")
			c.put(t, path)
			d := descriptor(b)
			ok, err := p.linkFile(t.Context(), path, d.Digest, d.Size)
			if err != nil || ok != c.ok {
				t.Fatalf("got %t, %v, want %t", ok, err, c.ok)
			}
			if p.Has(d.Digest, d.Size) != c.ok || c.ok && !bytes.Equal(pooled(p, b), b) {
				t.Error("the pool is wrong")
			}
			if c.ok && modeOf(t, p.path(d.Digest)) != 0o644 {
				t.Error("the mode is wrong")
			}
			if c.ok && same(t, path, p.path(d.Digest)) != c.linked {
				t.Errorf("linked: %t, want %t", !c.linked, c.linked)
			}
			if fi, err := os.Lstat(p.path(d.Digest)); c.ok && (err != nil || !isOurs(fi)) {
				t.Error("the blob in the pool belongs to another user")
			}
			wantNothingLeft(t, ca)
		})
	}
}

func TestLinkKeepsAPartThatItCannotReplace(t *testing.T) {
	_, p := newCache(t)
	b := content(1, 3000)
	writeTest(t, partialOf(p, b), b[:2000])
	path := filepath.Join(t.TempDir(), "blob")
	writeTest(t, path, content(2, 3000))
	d := descriptor(b)
	if ok, err := p.linkFile(t.Context(), path, d.Digest, d.Size); ok || err != nil {
		t.Fatal(ok, err)
	}
	if n, err := acquire(t, p, b).Resume(t.Context()); n != 2000 || err != nil {
		t.Errorf("resumed at %d: %v", n, err)
	}
}

// A blob in the pool that lost bytes since is replaced, by every way there is.
func TestDamagedPoolBlobIsReplaced(t *testing.T) {
	for name, repair := range map[string]func(t *testing.T, p *Pool, b []byte) error{
		"by a download": func(_ *testing.T, p *Pool, b []byte) error { return put(p, b) },
		"by link": func(t *testing.T, p *Pool, b []byte) error {
			path := filepath.Join(t.TempDir(), "blob")
			writeTest(t, path, b)
			ok, err := p.linkFile(t.Context(), path, descriptor(b).Digest, int64(len(b)))
			if !ok {
				t.Error("not linked")
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, p := newCache(t)
			b := content(1, 3000)
			must(t, put(p, b))
			must(t, os.Truncate(p.path(descriptor(b).Digest), 100))
			must(t, repair(t, p, b))
			if !bytes.Equal(pooled(p, b), b) {
				t.Error("it is still damaged")
			}
			wantNothingLeft(t, c)
		})
	}
}

func TestLinkEndsWithItsContext(t *testing.T) {
	_, p := newCache(t)
	b := content(1, 3000)
	path := filepath.Join(t.TempDir(), "blob")
	writeTest(t, path, b)
	w := acquire(t, p, b)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if ok, err := w.Link(ctx, func() (*os.File, error) { return os.OpenFile(path, unix.O_NOFOLLOW|unix.O_NONBLOCK, 0) }); ok || !errors.Is(err, why) {
		t.Errorf("got %t, %v", ok, err)
	}
}

// Something was planted under the name of a partial file: nothing outside is written.
func TestPlantedPartialFileIsNotFollowed(t *testing.T) {
	b := content(1, 3000)
	for name, plant := range map[string]func(t *testing.T, name, outside string){
		"link":          func(t *testing.T, name, outside string) { link(t, outside, name) },
		"dangling link": func(t *testing.T, name, outside string) { link(t, outside+".x", name) },
		"hard link":     func(t *testing.T, name, outside string) { must(t, os.Link(outside, name)) },
		"pipe":          func(t *testing.T, name, _ string) { must(t, unix.Mkfifo(name, 0o644)) },
		"directory":     func(t *testing.T, name, _ string) { writeTest(t, filepath.Join(name, "x"), b) },
	} {
		t.Run(name, func(t *testing.T) {
			c, p := newCache(t)
			dir := memoryDir(t)
			outside := filepath.Join(dir, "outside")
			writeTest(t, outside, []byte("mine"))
			plant(t, partialOf(p, b), outside)
			must(t, put(p, b))
			if !bytes.Equal(pooled(p, b), b) {
				t.Error("the blob is wrong")
			}
			names, err := os.ReadDir(dir)
			must(t, err)
			if got, _ := os.ReadFile(outside); string(got) != "mine" || len(names) != 1 {
				t.Errorf("outside is %q now, %v", got, names)
			}
			wantNothingLeft(t, c)
		})
	}
}

// Nor by the name of a blob or of the pool's lock.
func TestPlantedLinksAreNotFollowed(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	outside := filepath.Join(t.TempDir(), "outside")
	writeTest(t, outside, img.content[1])
	link(t, outside, p.path(img.Blobs[1].Digest))
	if p.Has(img.Blobs[1].Digest, img.Blobs[1].Size) {
		t.Error("a link is taken for a blob")
	}
	img.mustPublish(t, c, p)
	if fi, err := os.Lstat(filepath.Join(c.ImagePath(img.id), img.Blobs[1].Digest.Encoded())); err != nil || !fi.Mode().IsRegular() {
		t.Errorf("a link is published: %v", err)
	}

	lock := filepath.Join(c.containers, poolDir, "lock")
	must(t, os.Remove(lock))
	link(t, outside+".lock", lock)
	if p, err := c.OpenPool(context.Background()); err == nil {
		p.Close()
		t.Error("the lock is a link, and no error")
	}
	if _, err := os.Lstat(outside + ".lock"); err == nil {
		t.Error("a link was followed")
	}
}
