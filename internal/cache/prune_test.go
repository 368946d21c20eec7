package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"osbuild-containers/test/calls"
)

// collect removes all there is, in the order of gc.
func (j *job) collect() error {
	c := Open(j.Dir)
	ids, err := c.Images()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := c.Remove(context.Background(), id, anyImage); err != nil {
			return err
		}
	}
	if _, err := c.RemoveStale(context.Background(), future()); err != nil {
		return err
	}
	_, err = pruneNow(c, future())
	return err
}

// Killed anywhere, gc leaves each image complete or away, and the next run has nothing to step over.
func TestRemoveIsKilledAnywhere(t *testing.T) {
	for n := 1; ; n += 1 + rand.IntN(2) {
		c, p := newCache(t)
		one, two := draw(1, 0), draw(2, 0)
		one.Origins, one.List = allOrigins(0), allList(0)
		one.mustPublish(t, c, p)
		two.mustPublish(t, c, p)
		must(t, p.Close())
		j := job{Do: "collect", Dir: filepath.Dir(c.containers)}
		seen := 0
		killed := ""
		out, _ := j.watch(t, func(call calls.Call) calls.Verdict {
			if seen++; seen == n {
				killed = call.String()
				return calls.Kill
			}
			return calls.Continue
		}, calls.Changing...)
		if killed == "" {
			if n < 20 {
				t.Errorf("only %d calls: %s", seen, out)
			}
			return
		}
		for _, img := range []picture{one, two} {
			if _, err := os.Lstat(c.ImagePath(img.id)); err == nil {
				if err := img.check(c); err != nil {
					t.Fatalf("killed before %s: %v", killed, err)
				}
			}
		}
		must(t, j.collect())
		if left := allFiles(c.containers); len(left) > 1 { // the lock
			t.Fatalf("killed before %s, then run again: left are %q", killed, left)
		}
	}
}

func allFiles(dir string) (files []string) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, path)
		}
		return nil
	})
	return files
}

// While processes fetch and collect at the same time, and are killed now and then, half an image is never visible,
// and every publication succeeds.
func TestPublishAndRemoveAtTheSameTime(t *testing.T) {
	c, _ := newCache(t)
	dir := filepath.Dir(c.containers)
	stop := make(chan struct{})
	collected := make(chan error, 1)
	go func() {
		j := job{Do: "collect", Dir: dir}
		for n := 0; ; n++ {
			select {
			case <-stop:
				collected <- nil
				return
			default:
			}
			p := j.start(t)
			if n%2 == 1 {
				p.kill()
				continue
			}
			for line := range p.lines {
				if strings.HasPrefix(line, "error") && !strings.Contains(line, "in use") && !strings.Contains(line, "no such file") {
					collected <- errors.New(line)
					return
				}
			}
			_ = p.cmd.Wait()
		}
	}()
	for n := range 6 {
		if out, err := (job{Do: "publish", Dir: dir, Seed: uint64(1 + n%2), Count: 8}).run(t); err != nil {
			t.Errorf("publish: %v: %s", err, out)
		}
		for seed := range uint64(2) {
			img := draw(1+seed, 1)
			pub, err := c.OpenImage(img.id)
			if err != nil {
				continue
			}
			if release, err := pub.RLock(); err == nil {
				if err := img.check(c); err != nil && draw(1+seed, 0).check(c) != nil {
					t.Error(fmt.Errorf("held image: %w", err))
				}
				release()
			}
			pub.Close()
		}
	}
	close(stop)
	if err := <-collected; err != nil {
		t.Errorf("collect: %v", err)
	}
}
