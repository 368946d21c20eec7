package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"osbuild-containers/internal/manifest"
)

// never is a delay that no test waits for: what ends in time ends for another reason.
const never = time.Hour

// writers are n writers of a syncer, each with a file of its own.
func writers(t *testing.T, s *syncer, n int) (files []*os.File, leave []func()) {
	t.Helper()
	dir := memoryDir(t)
	for i := range n {
		f, err := os.Create(filepath.Join(dir, string(rune('a'+i))))
		must(t, err)
		t.Cleanup(func() { f.Close() })
		files = append(files, f)
		leave = append(leave, s.join())
	}
	return files, leave
}

// in ends a test in which something waits for ever.
func in(t *testing.T, what string, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(time.Minute):
		t.Fatalf("%s waits for ever", what)
		return nil
	}
}

// begin starts a sync, and returns when it waits, or has ended.
func begin(s *syncer, f *os.File, leave func()) <-chan error {
	s.mu.Lock()
	before := len(s.batch)
	s.mu.Unlock()
	done := make(chan error, 1)
	go func() { done <- s.sync(f, leave) }()
	for {
		s.mu.Lock()
		waits := len(s.batch) > before
		s.mu.Unlock()
		if waits || len(done) > 0 {
			return done
		}
		time.Sleep(time.Millisecond)
	}
}

// Blobs wait for each other until no writer is left that could still come with one, however the last
// one ends.
func TestSyncBeginsWhenTheLastWriterIsDone(t *testing.T) {
	for name, last := range map[string]func(s *syncer, f *os.File, leave func()) error{
		"with a blob":    func(s *syncer, f *os.File, leave func()) error { return s.sync(f, leave) },
		"without a blob": func(_ *syncer, _ *os.File, leave func()) error { leave(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := &syncer{delay: never}
			files, leave := writers(t, s, 3)
			one, two := begin(s, files[0], leave[0]), begin(s, files[1], leave[1])
			select {
			case err := <-one:
				t.Fatalf("did not wait: %v", err)
			default:
			}
			three := make(chan error, 1)
			go func() { three <- last(s, files[2], leave[2]) }()
			for _, done := range []<-chan error{one, two, three} {
				must(t, in(t, "a writer", done))
			}
			if s.active != 0 || s.batch != nil || s.timer != nil {
				t.Errorf("left behind: %+v", s)
			}
		})
	}
}

// A writer whose download takes long does not hold up the others.
func TestSyncDoesNotWaitForASlowWriter(t *testing.T) {
	s := &syncer{delay: time.Millisecond}
	files, leave := writers(t, s, 2)
	for range 3 { // a second try of the same writer too
		done := make(chan error, 1)
		go func() { done <- s.sync(files[0], leave[0]) }()
		must(t, in(t, "the fast writer", done))
	}
	if s.active != 1 {
		t.Errorf("%d writers are active, want the slow one", s.active)
	}
}

func TestSyncErrorIsOfItsOwnFile(t *testing.T) {
	s := &syncer{delay: never}
	files, leave := writers(t, s, 3)
	must(t, files[1].Close())
	var done []<-chan error
	for i := range files[:2] {
		done = append(done, begin(s, files[i], leave[i]))
	}
	last := make(chan error, 1)
	go func() { last <- s.sync(files[2], leave[2]) }()
	done = append(done, last)
	for i, d := range done {
		if err := in(t, "a writer", d); errors.Is(err, fs.ErrClosed) != (i == 1) || err != nil && i != 1 {
			t.Errorf("writer %d: %v", i, err)
		}
	}
}

func TestWriterIsCountedOutOnce(t *testing.T) {
	s := &syncer{delay: never}
	_, leave := writers(t, s, 3)
	for range 3 {
		leave[0]()
	}
	if s.active != 2 {
		t.Errorf("%d writers are active, want 2", s.active)
	}
}

// Whatever the order in which writers come, sync and go: each sync ends.
func TestNoSyncIsForgotten(t *testing.T) {
	for _, delay := range []time.Duration{never, time.Microsecond} {
		s := &syncer{delay: delay}
		file, err := os.Create(filepath.Join(memoryDir(t), "f"))
		must(t, err)
		defer file.Close()
		all := make(chan error, 1)
		go func() {
			var g sync.WaitGroup
			for i := range 16 {
				g.Go(func() {
					for n := range 500 {
						leave := s.join()
						if (n+i)%3 > 0 {
							if err := s.sync(file, leave); err != nil {
								t.Error(err)
							}
						}
						leave()
					}
				})
			}
			g.Wait()
			all <- nil
		}()
		must(t, in(t, "a writer", all))
		if s.active != 0 || s.batch != nil {
			t.Errorf("left behind: %+v", s)
		}
	}
}

// The same through the pool: a writer that is closed, links a file or finds the blob wrong is one
// that others need not wait for.
func TestUnsyncedWritersDoNotBlock(t *testing.T) {
	b, other := content(1, 1000), content(2, 1000)
	path := filepath.Join(memoryDir(t), "blob")
	writeTest(t, path, other)
	for name, end := range map[string]func(w *Writer) error{
		"closed": func(w *Writer) error { return w.Close() },
		"wrong": func(w *Writer) error {
			if err := w.append(content(3, 1000)); err != nil {
				return err
			}
			if err := w.Commit(); !manifest.IsMismatch(err) {
				return fmt.Errorf("commit gives %w", err)
			}
			return w.Close()
		},
		"linked": func(w *Writer) error {
			ok, err := w.Link(context.Background(), func() (*os.File, error) { return os.Open(path) })
			if !ok && err == nil {
				err = errors.New("not linked")
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, p := newCache(t)
			p.syncs.delay = never
			w, late := acquire(t, p, b), acquire(t, p, other)
			must(t, w.append(b))
			done, ended := make(chan error, 1), make(chan error, 1)
			go func() { done <- w.Commit() }()
			go func() { ended <- end(late) }()
			must(t, in(t, "the last writer", ended))
			must(t, in(t, "the writer", done))
		})
	}
}
