package cache

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSweepTakesTheDeadAndLeavesTheLiving(t *testing.T) {
	c, p := newCache(t)
	dir := filepath.Dir(c.containers)
	j := job{Do: "stage", Dir: dir}
	var procs [2]*process
	var stages [2]string
	for i := range procs {
		procs[i] = j.start(t)
		stages[i] = strings.TrimPrefix(<-procs[i].lines, "staged ")
		writeTest(t, filepath.Join(stages[i], "file"), []byte("x"))
	}
	procs[0].kill()
	outside := filepath.Join(t.TempDir(), "outside")
	writeTest(t, filepath.Join(outside, "file"), []byte("x"))
	must(t, os.Symlink(outside, filepath.Join(p.staging.path, "image-link")))
	writeTest(t, filepath.Join(p.staging.path, "stray"), []byte("x"))

	openCache(t, dir)
	names, err := os.ReadDir(p.staging.path)
	must(t, err)
	want := []string{filepath.Base(stages[1]), "image-link", "stray"} // the last two are not names that we make
	if len(names) != 3 || names[0].Name() != want[0] || names[1].Name() != want[1] || names[2].Name() != want[2] {
		t.Errorf("left are %v, want %v", names, want)
	}
	for _, f := range []string{filepath.Join(stages[1], "file"), filepath.Join(outside, "file")} {
		if _, err := os.Stat(f); err != nil {
			t.Error(err)
		}
	}
	procs[1].goOn()
	procs[1].says("done")
	for _, n := range want[1:] {
		must(t, os.Remove(filepath.Join(p.staging.path, n)))
	}
	wantNothingLeft(t, c)
}

func TestSweepTakesPartialFilesOfPooledBlobs(t *testing.T) {
	c, p := newCache(t)
	done, going := content(1, 1000), content(2, 1000)
	must(t, put(p, done))
	writeTest(t, partialOf(p, done), done[:300])
	writeTest(t, partialOf(p, going), going[:300])
	openCache(t, filepath.Dir(c.containers))
	left := leftovers(filepath.Dir(c.containers))
	if len(left) != 1 || filepath.Base(left[0]) != descriptor(going).Digest.Encoded() {
		t.Errorf("left are %q, want the one that can be continued", left)
	}
}

func TestSweepLeavesPartialFilesInUse(t *testing.T) {
	c, p := newCache(t)
	b := content(1, 1000)
	must(t, put(p, b))
	must(t, os.Truncate(p.path(descriptor(b).Digest), 10)) // damaged, so it is downloaded again
	w := acquire(t, p, b)
	must(t, w.append(b[:500]))
	openCache(t, filepath.Dir(c.containers))
	must(t, w.append(b[500:]))
	must(t, w.Commit())
}

// A process that opens the pool may not take away what others are putting together.
func TestOpeningThePoolDoesNotBlock(t *testing.T) {
	dir := memoryDir(t)
	c := Open(dir)
	publisher := job{Do: "publish", Dir: dir, Seed: 1, Count: 60}.start(t)
	for opened := 0; ; opened++ {
		select {
		case line := <-publisher.lines:
			if line != "done" {
				t.Fatalf("the process says %q", line)
			}
			t.Logf("opened %d times", opened)
			wantNothingLeft(t, c)
			return
		default:
		}
		p, err := Open(dir).OpenPool(context.Background())
		must(t, err)
		must(t, p.Close())
	}
}
