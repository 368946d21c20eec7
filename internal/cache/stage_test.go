package cache

import (
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
	must(t, os.Symlink(outside, filepath.Join(p.staging, "image-link")))
	writeTest(t, filepath.Join(p.staging, "stray"), []byte("x"))

	openCache(t, dir)
	names, err := os.ReadDir(p.staging)
	must(t, err)
	if len(names) != 1 || names[0].Name() != filepath.Base(stages[1]) {
		t.Errorf("left are %v, want the living one's, %s", names, stages[1])
	}
	for _, f := range []string{filepath.Join(stages[1], "file"), filepath.Join(outside, "file")} {
		if _, err := os.Stat(f); err != nil {
			t.Error(err)
		}
	}
	procs[1].goOn()
	procs[1].says("done")
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
func TestOpeningThePoolDisturbsNobody(t *testing.T) {
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
		p, err := Open(dir).OpenPool()
		must(t, err)
		must(t, p.Close())
	}
}
