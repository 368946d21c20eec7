package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// lockPoll is how often a blob that another process downloads is looked at again.
const lockPoll = 50 * time.Millisecond

// Pool holds each blob of a cache once, by digest.
type Pool struct {
	blobs, partial, staging string
	busy                    keyedMutex // blobs this process works on
	syncs                   syncer
	use                     *os.File // shared lock: the pool is in use
}

// OpenPool opens the pool of the cache, creating it where it is missing, and removes what dead
// processes left half-staged. Close it, so that looking after the pool becomes possible again.
func (c *Cache) OpenPool() (*Pool, error) {
	root := filepath.Join(c.containers, poolDir)
	p := &Pool{
		blobs:   filepath.Join(root, "blobs", "sha256"),
		partial: filepath.Join(root, "partial"),
		staging: filepath.Join(root, "staging"),
	}
	if err := makeDir(c.containers); err != nil {
		return nil, fmt.Errorf("make the blob pool: %w", err)
	}
	for _, dir := range []string{p.blobs, p.partial, p.staging} {
		if _, err := makeDirs(dir); err != nil { // what is in the pool need not survive a crash
			return nil, fmt.Errorf("make the blob pool: %w", err)
		}
	}
	use, err := os.OpenFile(filepath.Join(root, "lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, fileMode)
	if err != nil {
		return nil, fmt.Errorf("open the blob pool: %w", err)
	}
	if err := flock(use, unix.LOCK_SH); err != nil {
		use.Close()
		return nil, fmt.Errorf("lock the blob pool: %w", err)
	}
	p.use = use
	sweep(p.staging, "")
	p.sweepPartial()
	return p, nil
}

// Close ends the use of the pool. Writers must have been closed before.
func (p *Pool) Close() error {
	return p.use.Close()
}

// path is where a complete blob lies. Only digests that were parsed get here.
func (p *Pool) path(d digest.Digest) string {
	return filepath.Join(p.blobs, d.Encoded())
}

// Has says whether the pool holds the blob, complete. What is there by its name was verified
// before it got the name; a length other than size means that somebody damaged it since.
func (p *Pool) Has(d digest.Digest, size int64) bool {
	fi, err := os.Lstat(p.path(d))
	return err == nil && fi.Mode().IsRegular() && fi.Size() == size
}

// Acquire returns the right to write the blob with that digest and size (bytes), continuing what
// an earlier writer left, or a nil Writer when the blob is in the pool. While another
// process has that right it waits, calling waiting once, and takes over if that process dies.
func (p *Pool) Acquire(ctx context.Context, d digest.Digest, size int64, waiting func()) (*Writer, error) {
	unlock, err := p.busy.lock(ctx, d)
	if err != nil {
		return nil, err
	}
	w, err := p.acquire(ctx, d, size, waiting)
	if w == nil {
		unlock()
		return nil, err
	}
	w.unlock = unlock
	return w, nil
}

func (p *Pool) acquire(ctx context.Context, d digest.Digest, size int64, waiting func()) (*Writer, error) {
	name := filepath.Join(p.partial, d.Encoded())
	there := func() bool { return p.Has(d, size) }
	f, err := lockPartial(ctx, name, there, waiting)
	if f == nil {
		return nil, err
	}
	if there() { // finished between the look and the lock
		err = os.Remove(name)
		f.Close()
		return nil, err
	}
	return newWriter(p, f, name, d, size)
}

// lockPartial opens and locks the partial file of a blob, unless that is there: then it returns nil.
func lockPartial(ctx context.Context, name string, there func() bool, waiting func()) (*os.File, error) {
	for !there() {
		f, err := openPartial(name)
		if err != nil {
			return nil, fmt.Errorf("open partial blob: %w", err)
		}
		err = flock(f, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && sameFile(f, name) {
			return f, nil
		}
		f.Close()
		if err == nil { // it got its final name meanwhile
			continue
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock partial blob: %w", err)
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(lockPoll):
		}
	}
	return nil, nil
}

// Discard removes a blob from the pool if it is not what its name says. Whoever brings such a blob into
// the pool is waited for.
func (p *Pool) Discard(ctx context.Context, d digest.Digest) error {
	unlock, err := p.busy.lock(ctx, d)
	if err != nil {
		return err
	}
	defer unlock()
	name := filepath.Join(p.partial, d.Encoded())
	f, err := lockPartial(ctx, name, func() bool { return false }, nil)
	if err != nil {
		return err
	}
	defer f.Close()
	if !isIntact(p.path(d), d) {
		err = os.RemoveAll(p.path(d))
	}
	if fi, e := f.Stat(); e == nil && fi.Size() == 0 {
		_ = os.Remove(name)
	}
	if err != nil {
		return fmt.Errorf("discard damaged blob: %w", err)
	}
	return nil
}

// openPartial opens the partial file for writing. What has its name and can be none is removed:
// a symbolic link, or a file with other names, which writing would change too.
func openPartial(name string) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink > 1) {
		if err := os.RemoveAll(name); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, fileMode)
}

// sweepPartial removes what a writer that was killed while it gave a blob its name has left:
// partial files of blobs that are in the pool.
func (p *Pool) sweepPartial() {
	names, err := os.ReadDir(p.partial)
	if err != nil {
		return
	}
	for _, n := range names {
		if fi, err := os.Lstat(filepath.Join(p.blobs, n.Name())); err != nil || !fi.Mode().IsRegular() {
			continue
		}
		path := filepath.Join(p.partial, n.Name())
		f, err := openFile(path)
		if err != nil {
			continue
		}
		if flock(f, unix.LOCK_EX|unix.LOCK_NB) == nil && sameFile(f, path) {
			_ = os.Remove(path)
		}
		f.Close()
	}
}

// flock takes a lock that the kernel releases when f is closed or its process dies.
func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// sameFile says whether the open file is still the one that has the name.
func sameFile(f *os.File, name string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(name)
	return err == nil && os.SameFile(a, b)
}

// keyedMutex is a mutex for each digest. The zero value is ready.
type keyedMutex struct {
	mu   sync.Mutex
	held map[digest.Digest]chan struct{} // closed on unlock
}

func (k *keyedMutex) lock(ctx context.Context, d digest.Digest) (unlock func(), err error) {
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		k.mu.Lock()
		done, taken := k.held[d]
		if !taken {
			if k.held == nil {
				k.held = make(map[digest.Digest]chan struct{})
			}
			done = make(chan struct{})
			k.held[d] = done
			k.mu.Unlock()
			return sync.OnceFunc(func() {
				k.mu.Lock()
				delete(k.held, d)
				k.mu.Unlock()
				close(done)
			}), nil
		}
		k.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// isAbsent says that a name does not exist.
func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
