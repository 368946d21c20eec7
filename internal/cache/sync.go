package cache

import (
	"cmp"
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// syncDelay is how long a blob may wait for others to be synced with it. A file system with a journal commits all of
// them at the cost of one.
const syncDelay = 25 * time.Millisecond

// syncer syncs the blobs of many writers, combining those that complete at about the same time. The zero value is
// ready for use.
type syncer struct {
	delay  time.Duration // zero means syncDelay
	mu     sync.Mutex
	active int // writers that may still add a blob
	batch  []waitingSync
	timer  *time.Timer // running while there is a batch
}

type waitingSync struct {
	f    *os.File
	done chan error
}

// join registers a writer. The writer calls leave when it has no blob left to sync; further calls of leave do
// nothing.
func (s *syncer) join() (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.active--
		s.flushIfLast()
	})
}

// sync syncs the content of f. It calls leave as soon as f is waiting.
func (s *syncer) sync(f *os.File, leave func()) error {
	startWriteback(f, 0, 0)
	w := waitingSync{f, make(chan error, 1)}
	s.mu.Lock()
	s.batch = append(s.batch, w)
	if s.timer == nil {
		s.timer = time.AfterFunc(cmp.Or(s.delay, syncDelay), s.flush)
	}
	s.mu.Unlock()
	leave()
	return <-w.done
}

// flushIfLast starts the sync if no registered writer could add to the batch.
func (s *syncer) flushIfLast() {
	if s.active == 0 && s.timer != nil && s.timer.Stop() {
		go s.flush()
	}
}

// flush syncs the batch. The next batch may start meanwhile.
func (s *syncer) flush() {
	s.mu.Lock()
	batch := s.batch
	s.batch, s.timer = nil, nil
	s.mu.Unlock()
	for _, w := range batch {
		w.done <- w.f.Sync()
	}
}

// syncTogether syncs the content of files.
func syncTogether(files []*os.File) error {
	for _, f := range files {
		startWriteback(f, 0, 0)
	}
	for _, f := range files {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// startWriteback asks the kernel to start writing a range of the file to disk, to its end if length is 0, and does
// not wait. If the file system does not support it, the sync at the end writes everything.
func startWriteback(f *os.File, offset, length int64) {
	_ = unix.SyncFileRange(int(f.Fd()), offset, length, unix.SYNC_FILE_RANGE_WRITE)
}

// Sync returns when the names of these images and manifest lists, which the caller found, are on disk. It returns an
// error for each name that may not be; a removed name is not an error. The process that published a name recently may
// not have synced it yet, or may have been killed before, so Sync waits for that process's lock, for Limit in total,
// and syncs the name again. Names older than a minute need neither.
func (c *Cache) Sync(ctx context.Context, images, lists []digest.Digest) map[digest.Digest]error {
	errs := map[digest.Digest]error{}
	w := c.waitFor("")
	locks, err := c.openLocks() // once for thousands of images
	if err == nil {
		defer locks.close()
	}
	wait := func(name, what string) error {
		if isAbsent(err) || errors.Is(err, unix.EACCES) { // as lockNamed
			return nil
		}
		if err != nil {
			return err
		}
		unlock, err := w.next(what).lockIn(ctx, locks, name, unix.LOCK_SH)
		if err == nil {
			unlock()
		}
		return err
	}
	c.syncNames(containersDir, images, errs,
		func(id digest.Digest) error { return wait(id.Encoded(), imageLock(id)) },
		func(containers *dir, id digest.Digest) error {
			parent, err := containers.open(id.String())
			if err != nil {
				return err
			}
			defer parent.close()
			return parent.sync()
		})
	waitLists := sync.OnceValue(func() error { return wait(listsLock, listsLockName) })
	c.syncNames(filesDir, lists, errs,
		func(digest.Digest) error { return waitLists() },
		func(*dir, digest.Digest) error { return nil })
	return errs
}

// manyNames is the number of names from which the whole file system is synced instead of their directories: one flush
// of the disk instead of one for each. It waits for what else is to be written there, so it is not for a few.
const manyNames = 16

// syncNames syncs the recent ones of the names in one directory of the cache. wait returns when the process that
// published one has synced it, or died; sync syncs what is below one.
func (c *Cache) syncNames(top string, names []digest.Digest, errs map[digest.Digest]error, wait func(digest.Digest) error, sync func(*dir, digest.Digest) error) {
	if len(names) == 0 {
		return
	}
	in, err := c.openTop(top)
	if isAbsent(err) { // so are the names
		return
	}
	var found []digest.Digest
	for _, d := range names {
		st, e := unix.Stat_t{}, err
		if e == nil {
			st, e = in.stat(d.String())
		}
		if e == nil && !isRecent(int64(st.Ctim.Sec)) || isAbsent(e) { //nolint:unconvert // its type depends on the architecture
			continue
		}
		if e == nil {
			e = wait(d)
		}
		if e != nil {
			errs[d] = e
			continue
		}
		found = append(found, d)
	}
	if len(found) == 0 || len(found) >= manyNames && in.syncAll() == nil {
		return
	}
	above := in.sync() // the cache itself was synced before anything got a name in it
	for _, d := range found {
		if err := errors.Join(sync(in, d), above); err != nil && !isAbsent(err) {
			errs[d] = err
		}
	}
}
