package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/test/calls"
)

func TestSecondProcessWaitsAndFindsTheBlob(t *testing.T) {
	c, p := newCache(t)
	b := content(1, 30_000)
	j := job{Do: "hold", Dir: filepath.Dir(c.containers), Seed: 1, Size: len(b)}
	first := j.start(t)
	first.says("holding from 0")
	second := j.start(t)
	second.says("waiting")
	if pooled(p, b) != nil {
		t.Error("visible while it is written")
	}
	first.goOn()
	first.says("done")
	second.says("there") // and "waiting" was said once
	second.says("done")
	if !bytes.Equal(pooled(p, b), b) {
		t.Error("the blob is wrong")
	}
	wantNothingLeft(t, c)
}

// Each process that is killed leaves its half to the next one in the queue.
func TestWaiterTakesOverFromTheDead(t *testing.T) {
	c, p := newCache(t)
	b := content(1, 32_000)
	j := job{Do: "hold", Dir: filepath.Dir(c.containers), Seed: 1, Size: len(b)}
	first := j.start(t)
	first.says("holding from 0")
	second := j.start(t)
	second.says("waiting")
	first.kill()
	second.says("holding from 16000")
	third := j.start(t)
	third.says("waiting")
	second.kill()
	third.says("holding from 24000")
	third.goOn()
	third.says("done")
	if !bytes.Equal(pooled(p, b), b) {
		t.Error("the blob is wrong")
	}
	wantNothingLeft(t, c)
}

// A holder that fails, and lives on, hands over too.
func TestCloseHandsOver(t *testing.T) {
	c, p := newCache(t)
	b := content(1, 32_000)
	w := acquire(t, p, b)
	must(t, w.append(b[:10_000]))
	second := job{Do: "hold", Dir: filepath.Dir(c.containers), Seed: 1, Size: len(b)}.start(t)
	second.says("waiting")
	must(t, w.Close())
	second.says("holding from 10000")
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	b := content(1, 1000)
	d := descriptor(b)
	for name, hold := range map[string]func(testing.TB, *Cache, *Pool){
		"for another process": func(t testing.TB, c *Cache, _ *Pool) {
			job{Do: "hold", Dir: filepath.Dir(c.containers), Seed: 1, Size: len(b)}.start(t).says("holding from 0")
		},
		"for this process": func(t testing.TB, _ *Cache, p *Pool) { acquire(t, p, b) },
	} {
		t.Run(name, func(t *testing.T) {
			c, p := newCache(t)
			hold(t, c, p)
			why := errors.New("enough")
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
			if w, err := p.Acquire(ctx, d.Digest, d.Size, nil); w != nil || !errors.Is(err, why) {
				t.Errorf("got %v, %v", w, err)
			}
			if ok, err := p.linkFile(ctx, "/nowhere", d.Digest, d.Size); ok || !errors.Is(err, why) {
				t.Errorf("Link: %t, %v", ok, err)
			}
		})
	}
}

// Many goroutines of one process want one blob: one writes it.
func TestOneWriterInAProcess(t *testing.T) {
	_, p := newCache(t)
	b := content(1, 50_000)
	d := descriptor(b)
	var wrote, inside atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			w, err := p.Acquire(t.Context(), d.Digest, d.Size, func() { t.Error("waits for another process") })
			if err != nil {
				if !errors.Is(err, ErrExists) {
					t.Error(err)
				}
				return
			}
			defer w.Close()
			if inside.Add(1) > 1 {
				t.Error("two writers at one time")
			}
			defer inside.Add(-1)
			if wrote.Add(1) == 1 {
				return // gives up: the next one writes
			}
			if err := errors.Join(w.append(b), w.Commit()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if wrote.Load() != 2 {
		t.Errorf("%d writers, want 2: one that gave up, one that wrote", wrote.Load())
	}
}

// The blob is finished at the worst moment: when another process has just looked for it, opens the
// partial file, or is about to lock it.
func TestBlobThatIsFinishedMeanwhileIsNotWrittenAgain(t *testing.T) {
	for _, moment := range []string{"openat", "flock"} {
		t.Run(moment, func(t *testing.T) {
			c, p := newCache(t)
			b := content(1, 3000)
			w := acquire(t, p, b)
			must(t, w.append(b))
			j := job{Do: "hold", Dir: filepath.Dir(c.containers), Seed: 1, Size: len(b)}
			finished := false
			out, err := j.watch(t, func(call calls.Call) calls.Verdict {
				if call.Path == w.f.Name() && !finished {
					finished = true
					if err := errors.Join(w.Commit(), w.Close()); err != nil {
						t.Error(err)
					}
				}
				return calls.Continue
			}, moment)
			if out != "there\ndone" || err != nil || !finished {
				t.Errorf("the process says %q, %v", out, err)
			}
			if !bytes.Equal(pooled(p, b), b) {
				t.Error("the blob is wrong")
			}
			wantNothingLeft(t, c)
		})
	}
}

// Processes that want the same blobs, in different orders, write each once between them.
func TestProcessesWriteEachBlobOnce(t *testing.T) {
	c, p := newCache(t)
	const count, size = 97, 4000 // a prime: seeds give permutations
	var procs []*process
	for _, seed := range []uint64{1, 1, 2, 3} {
		procs = append(procs, job{Do: "many", Dir: filepath.Dir(c.containers), Seed: seed, Size: size, Count: count}.start(t))
	}
	total := 0
	for _, pr := range procs {
		var n int
		if _, err := fmt.Sscanf(<-pr.lines, "wrote %d", &n); err != nil {
			t.Fatal(err)
		}
		pr.says("done")
		total += n
	}
	if total != count {
		t.Errorf("%d blobs were written, want %d", total, count)
	}
	for i := range count {
		if b := content(uint64(i), size); !bytes.Equal(pooled(p, b), b) {
			t.Fatalf("blob %d is wrong", i)
		}
	}
	wantNothingLeft(t, c)
}

func TestPoolLockIsHeldWhileInUse(t *testing.T) {
	c, p := newCache(t)
	f, err := os.Open(filepath.Join(c.containers, poolDir, "lock"))
	must(t, err)
	defer f.Close()
	const exclusive = 2 | 4 // LOCK_EX | LOCK_NB
	if flock(f, exclusive) == nil {
		t.Error("the pool can be locked for others while it is open")
	}
	must(t, p.Close())
	if err := flock(f, exclusive); err != nil {
		t.Errorf("the pool is locked after it was closed: %v", err)
	}
}

// TestWaitsWhileThePoolIsWrittenTo shows that a blob that another process has is waited for beyond the limit as long as
// something else is downloaded: the other process may not have begun with this one.
func TestWaitsWhileThePoolIsWrittenTo(t *testing.T) {
	c, p := newCache(t)
	c.Limit = 2 * activityPoll
	data, other := content(1, 5000), content(2, 5000)
	f, err := p.openPartial(digest.FromBytes(data).Encoded())
	must(t, err)
	must(t, flock(f, unix.LOCK_EX))
	growing, err := p.openPartial(digest.FromBytes(other).Encoded())
	must(t, err)
	defer growing.Close()
	go func() {
		for end := time.Now().Add(2 * c.Limit); time.Now().Before(end); time.Sleep(lockPoll) {
			_, _ = growing.Write([]byte{1})
		}
		f.Close()
	}()
	w, err := p.Acquire(t.Context(), digest.FromBytes(data), int64(len(data)), nil)
	must(t, err)
	must(t, w.Close())
}
