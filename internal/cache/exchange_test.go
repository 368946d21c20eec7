package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Two processes exchange an image for another variant of it and back, all the time. Any reader
// meanwhile finds one or the other.
func TestReadersSeeOneImageOrTheOther(t *testing.T) {
	c, p := openCache(t, memoryDir(t))
	variants := []picture{draw(1, 0), draw(1, 1)}
	for _, v := range variants {
		v.mustPublish(t, c, p)
	}
	j := job{Do: "publish", Dir: filepath.Dir(c.containers), Seed: 1, Count: 80}
	writers := []*process{j.start(t), j.start(t)}
	reads, gone, seen := 0, 0, map[int]int{}
	for running := len(writers); running > 0; {
		for _, w := range writers {
			select {
			case line, more := <-w.lines:
				if more && line != "done" {
					t.Fatalf("a writer says %q", line)
				}
				if !more {
					w.lines = nil
					running--
				}
			default:
			}
		}
		reads++
		which, err := readVariant(c, variants)
		if errors.Is(err, errGone) {
			gone++
			continue
		}
		must(t, err)
		seen[which]++
	}
	t.Logf("%d reads, %d of them overtaken, saw %v", reads, gone, seen)
	if len(seen) != 2 {
		t.Errorf("the image was not exchanged: saw %v", seen)
	}
	wantNothingLeft(t, c)
}

var errGone = errors.New("the image was exchanged while it was read")

// readVariant opens the name, which must always be there, and reads all of it through one handle.
func readVariant(c *Cache, variants []picture) (int, error) {
	if _, err := os.ReadFile(filepath.Join(c.ImagePath(variants[0].id), manifestFile)); err != nil {
		return 0, fmt.Errorf("by its path: %w", err)
	}
	pub, err := c.OpenImage(variants[0].id)
	if err != nil {
		return 0, err
	}
	defer pub.Close()
	raw, err := pub.Manifest()
	for i, v := range variants {
		if err != nil || string(raw) != string(v.Manifest) {
			continue
		}
		if pub.Has(v.Blobs) {
			return i, nil
		}
		err = os.ErrNotExist
	}
	var now unix.Stat_t
	var then unix.Stat_t
	if e := errors.Join(unix.Fstat(pub.image.fd(), &then), unix.Stat(pub.Path(), &now)); e != nil {
		return 0, e
	}
	if then.Ino != now.Ino || then.Nlink == 0 { // another one has the name
		return 0, errGone
	}
	return 0, fmt.Errorf("what has the name is neither image: %.20q, %w", raw, err)
}

func TestExchangeSwapsWhateverIsThere(t *testing.T) {
	for name, put := range map[string]func(t *testing.T, path string){
		"directory": func(t *testing.T, path string) { writeTest(t, filepath.Join(path, "old"), nil) },
		"file":      func(t *testing.T, path string) { writeTest(t, path, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			fresh, old := filepath.Join(t.TempDir(), "fresh"), filepath.Join(t.TempDir(), "old")
			writeTest(t, filepath.Join(fresh, "new"), nil)
			put(t, old)
			must(t, exchange(testDir(t, filepath.Dir(fresh)), "fresh", testDir(t, filepath.Dir(old)), "old"))
			if _, err := os.Stat(filepath.Join(old, "new")); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(fresh); err != nil {
				t.Errorf("the old one is not where the new one was: %v", err)
			}
		})
	}
}
