package cache

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestListFileReplacesWhatIsWrong(t *testing.T) {
	raw := []byte(`{"manifests": []}`)
	d := descriptor(raw).Digest
	for name, put := range map[string]func(t *testing.T, dest, outside string){
		"nothing":         func(*testing.T, string, string) {},
		"right":           func(t *testing.T, dest, _ string) { writeTest(t, dest, raw) },
		"wrong":           func(t *testing.T, dest, _ string) { writeTest(t, dest, []byte("other")) },
		"empty":           func(t *testing.T, dest, _ string) { writeTest(t, dest, nil) },
		"empty directory": func(t *testing.T, dest, _ string) { must(t, os.MkdirAll(dest, 0o755)) },
		"directory":       func(t *testing.T, dest, _ string) { writeTest(t, filepath.Join(dest, "x"), raw) },
		"dangling link":   func(t *testing.T, dest, _ string) { link(t, "nowhere", dest) },
		"link to the right": func(t *testing.T, dest, outside string) {
			writeTest(t, outside, raw)
			link(t, outside, dest)
		},
		"link to another": func(t *testing.T, dest, outside string) {
			writeTest(t, outside, []byte("mine"))
			link(t, outside, dest)
		},
		"dead stage": func(t *testing.T, dest, _ string) { writeTest(t, dest, nil); writeTest(t, stray(dest), raw) },
	} {
		t.Run(name, func(t *testing.T) {
			c := Open(filepath.Join(t.TempDir(), "cache"))
			outside := filepath.Join(t.TempDir(), "outside")
			put(t, c.FilePath(d), outside)
			before, _ := os.ReadFile(outside)
			must(t, c.PublishFile(t.Context(), d, raw))
			if got, err := c.ReadFile(d); err != nil || !bytes.Equal(got, raw) {
				t.Errorf("published is %q, %v", got, err)
			}
			if fi, err := os.Lstat(c.FilePath(d)); err != nil || !fi.Mode().IsRegular() || fi.Mode().Perm() != 0o644 {
				t.Errorf("not published as a file with mode 644: %v, %v", fi, err)
			}
			if after, _ := os.ReadFile(outside); !bytes.Equal(before, after) {
				t.Error("a link was followed")
			}
			wantNothingLeft(t, c)
		})
	}
}

func stray(dest string) string {
	return filepath.Join(filepath.Dir(dest), replacePrefix+"123", "file")
}

func link(t testing.TB, to, path string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.Symlink(to, path))
}

func TestFileIsThereOnlyWithItsDigest(t *testing.T) {
	raw := []byte("list")
	d := descriptor(raw).Digest
	for name, c := range map[string]struct {
		put  func(t *testing.T, dest string)
		want bool
	}{
		"right":     {func(t *testing.T, dest string) { writeTest(t, dest, raw) }, true},
		"wrong":     {func(t *testing.T, dest string) { writeTest(t, dest, []byte("lisT")) }, false},
		"absent":    {func(*testing.T, string) {}, false},
		"directory": {func(t *testing.T, dest string) { must(t, os.MkdirAll(dest, 0o755)) }, false},
		"link": {func(t *testing.T, dest string) {
			writeTest(t, dest+".x", raw)
			link(t, dest+".x", dest)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			ca := Open(t.TempDir())
			c.put(t, ca.FilePath(d))
			if got, err := ca.ReadFile(d); (err == nil) != c.want || err == nil && !bytes.Equal(got, raw) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestTheRightListFileIsLeftAlone(t *testing.T) {
	c := Open(t.TempDir())
	raw := []byte("list")
	d := descriptor(raw).Digest
	must(t, c.PublishFile(t.Context(), d, raw))
	before, err := os.Stat(c.FilePath(d))
	must(t, err)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := c.PublishFile(t.Context(), d, raw); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	after, err := os.Stat(c.FilePath(d))
	must(t, err)
	if !os.SameFile(before, after) {
		t.Error("it was replaced")
	}
}

func TestListIsNotPublishedAfterItsContext(t *testing.T) {
	c := Open(t.TempDir())
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	d := descriptor([]byte("list")).Digest
	if err := c.PublishFile(ctx, d, []byte("list")); !errors.Is(err, why) {
		t.Errorf("error is %v", err)
	}
	if _, err := os.Lstat(c.FilePath(d)); err == nil {
		t.Error("it is published")
	}
}
