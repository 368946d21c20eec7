package cache

import (
	"cmp"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// syncDelay is how long a blob may wait for others to be synced with it. A file system with a
// journal makes all that is waiting durable at the price of one.
const syncDelay = 25 * time.Millisecond

// syncer makes the blobs of many writers durable, those of the same moment together. The zero value
// is ready.
type syncer struct {
	delay  time.Duration // 0 is syncDelay
	mu     sync.Mutex
	active int // writers that may still come with a blob
	batch  []waitingSync
	timer  *time.Timer // runs while there is a batch
}

type waitingSync struct {
	f    *os.File
	done chan error
}

// join counts a writer in. It is counted out by leave, which may be called again, when it has no
// blob to sync any more.
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

// sync makes the content of f durable. Its writer is counted out as soon as f waits.
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

// flushIfLast begins with the batch if nobody is left who could still come with a blob.
func (s *syncer) flushIfLast() {
	if s.active == 0 && s.timer != nil && s.timer.Stop() {
		go s.flush()
	}
}

// flush syncs the batch. The next one may begin meanwhile.
func (s *syncer) flush() {
	s.mu.Lock()
	batch := s.batch
	s.batch, s.timer = nil, nil
	s.mu.Unlock()
	for _, w := range batch {
		w.done <- w.f.Sync()
	}
}

// syncTogether makes the contents of files durable.
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

// startWriteback asks the kernel to write a range of the file to disk, to its end if length is 0; it
// does not wait. Where the file system cannot, the sync does all of it.
func startWriteback(f *os.File, offset, length int64) {
	_ = unix.SyncFileRange(int(f.Fd()), offset, length, unix.SYNC_FILE_RANGE_WRITE)
}
