package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Pool stores each blob of a cache once, by digest.
type Pool struct {
	cache                   *Cache
	containers              *dir
	blobs, partial, staging *dir
	busy                    keyedMutex // blobs that this process is writing
	syncs                   syncer
	use                     *os.File // shared lock, held while the pool is open
}

// poolLock is the file that every process using the pool locks.
const poolLock = "lock"

// OpenPool opens the pool of the cache, creating it if it is missing, and removes stages that dead processes left.
// The caller must Close it; Prune waits until then.
func (c *Cache) OpenPool(ctx context.Context) (_ *Pool, err error) {
	p := &Pool{cache: c}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if p.containers, err = c.makeTop(containersDir); err != nil {
		return nil, fmt.Errorf("make the blob pool: %w", err)
	}
	root, err := p.makeDirs()
	if err != nil {
		return nil, fmt.Errorf("make the blob pool: %w", err)
	}
	defer root.close()
	if p.use, err = root.openat(poolLock, os.O_RDWR|os.O_CREATE, lockMode); err != nil {
		return nil, fmt.Errorf("open the blob pool: %w", err)
	}
	if err := setMode(p.use, lockMode); err != nil {
		return nil, fmt.Errorf("open the blob pool: %w", err)
	}
	if err := c.waitFor("the blob pool "+root.path).lock(ctx, p.use, unix.LOCK_SH); err != nil {
		return nil, fmt.Errorf("lock the blob pool: %w", err)
	}
	removeDead(p.staging, stagePrefix)
	p.removePooledPartial()
	return p, nil
}

// makePool creates the directory of the pool. Only its owner can open it: other users could lock the files in it, and
// need none of them. Earlier versions created it with other permissions.
func makePool(containers *dir) (*dir, error) {
	root, _, err := containers.mkdir(poolDir, privateMode)
	if err != nil {
		return nil, err
	}
	if err := setMode(root.f, privateMode); err != nil {
		root.close()
		return nil, err
	}
	return root, nil
}

// makeDirs creates the directories of the pool; their content need not survive a crash.
func (p *Pool) makeDirs() (_ *dir, err error) {
	root, err := makePool(p.containers)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			root.close()
		}
	}()
	all, _, err := root.mkdir("blobs", dirMode)
	if err != nil {
		return nil, err
	}
	defer all.close()
	if p.blobs, _, err = all.mkdir("sha256", dirMode); err != nil {
		return nil, err
	}
	if p.partial, _, err = root.mkdir("partial", privateMode); err != nil {
		return nil, err
	}
	if p.staging, _, err = root.mkdir("staging", privateMode); err != nil {
		return nil, err
	}
	locks, _, err := root.mkdir(locksDir, privateMode)
	if err != nil {
		return nil, err
	}
	locks.close()
	return root, nil
}

// setMode sets the mode of an open file, unless it has that mode.
func setMode(f *os.File, mode fs.FileMode) error {
	fi, err := f.Stat()
	if err == nil && fi.Mode().Perm() != mode {
		err = f.Chmod(mode)
	}
	return err
}

// Close closes the pool. All Writers must have been closed.
func (p *Pool) Close() error {
	for _, d := range []*dir{p.blobs, p.partial, p.staging} { // containers belongs to the cache
		if d != nil {
			d.close()
		}
	}
	if p.use == nil {
		return nil
	}
	return p.use.Close()
}

// Has reports whether the pool has the complete blob. It was verified before it got its name; a length other than
// size means that it was damaged since. A negative size is unknown.
func (p *Pool) Has(d digest.Digest, size int64) bool {
	st, err := p.blobs.stat(d.Encoded())
	return err == nil && checkFile(&st, "") == nil && (size < 0 || st.Size == size)
}

// ErrExists is the error of Acquire if the pool has the blob.
var ErrExists = errors.New("the blob is in the pool")

// Acquire returns a Writer for the blob with that digest and size in bytes, negative if that is unknown, which can
// continue from the data of an earlier one. The error is ErrExists if the pool has the blob. If another process is writing the blob, Acquire calls
// waiting once, waits, and takes over if that process dies.
func (p *Pool) Acquire(ctx context.Context, d digest.Digest, size int64, waiting func()) (*Writer, error) {
	unlock, err := p.busy.lock(ctx, d)
	if err != nil {
		return nil, err
	}
	w, err := p.acquire(ctx, d, size, waiting)
	if err != nil {
		unlock()
		return nil, err
	}
	w.unlock = unlock
	return w, nil
}

func (p *Pool) acquire(ctx context.Context, d digest.Digest, size int64, waiting func()) (*Writer, error) {
	pooled := func() bool { return p.Has(d, size) }
	f, err := p.lockPartial(ctx, d, pooled, waiting)
	if err != nil {
		return nil, err
	}
	if pooled() { // stored between the check and the lock
		err = cmp.Or(p.partial.remove(d.Encoded()), ErrExists)
		f.Close()
		return nil, err
	}
	return newWriter(p, f, d, size)
}

// lockPartial opens and locks the partial file of a blob. The error is ErrExists if the blob is pooled. It waits for
// the holder of the lock as long as any partial blob changes, since the holder may wait for a connection while it
// downloads other blobs.
func (p *Pool) lockPartial(ctx context.Context, d digest.Digest, pooled func() bool, waiting func()) (*os.File, error) {
	w := p.cache.waitFor("blob " + d.String())
	var seen activity
	for !pooled() {
		f, err := p.openPartial(d.Encoded())
		if err != nil {
			return nil, fmt.Errorf("open partial blob: %w", err)
		}
		err = flock(f, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && p.partial.is(f, d.Encoded()) {
			return f, nil
		}
		if err == nil { // it was renamed to its final name meanwhile
			f.Close()
			continue
		}
		if err != unix.EWOULDBLOCK {
			f.Close()
			return nil, fmt.Errorf("lock partial blob: %w", err)
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
		if now := time.Now(); now.Sub(seen.at) >= activityPoll {
			last := seen
			if seen = p.activity(now); seen.bytes != last.bytes || seen.changed != last.changed {
				w.progressed()
			}
		}
		err = w.pause(ctx, f)
		f.Close()
		if err != nil {
			return nil, err
		}
	}
	return nil, ErrExists
}

// activityPoll is the interval between calls of activity, which reads a directory.
const activityPoll = time.Second

// activity is a snapshot of the partial blobs.
type activity struct {
	at      time.Time
	bytes   int64         // total size
	changed unix.Timespec // when a partial blob was last added or removed
}

// activity returns the current state of the partial blobs. Unreadable files are not counted.
func (p *Pool) activity(now time.Time) activity {
	a := activity{at: now}
	if st, err := p.partial.stat("."); err == nil {
		a.changed = st.Mtim
	}
	names, _ := p.partial.names()
	for _, name := range names {
		if st, err := p.partial.stat(name); err == nil {
			a.bytes += st.Size
		}
	}
	return a
}

// Discard removes a blob from the pool if its content does not match its digest. It waits for a process that is
// writing the blob.
func (p *Pool) Discard(ctx context.Context, d digest.Digest) error {
	unlock, err := p.busy.lock(ctx, d)
	if err != nil {
		return err
	}
	defer unlock()
	f, err := p.lockPartial(ctx, d, func() bool { return false }, nil)
	if err != nil {
		return err
	}
	defer f.Close()
	if !p.blobs.hasBlob(d.Encoded(), d) {
		err = p.blobs.removeAll(d.Encoded())
	}
	if fi, e := f.Stat(); e == nil && fi.Size() == 0 {
		_ = p.partial.remove(d.Encoded())
	}
	if err != nil {
		return fmt.Errorf("discard damaged blob: %w", err)
	}
	return nil
}

// openPartial opens the partial file for writing. It first removes anything unsuitable of that name: a symbolic link,
// a file with other hard links, which writing would modify too, or another user's file.
func (p *Pool) openPartial(name string) (*os.File, error) {
	if st, err := p.partial.stat(name); err == nil && (checkFile(&st, "") != nil || st.Nlink > 1) {
		if err := p.partial.removeAll(name); err != nil {
			return nil, err
		}
	}
	f, err := p.partial.openat(name, os.O_RDWR|os.O_CREATE, lockMode)
	if err == nil {
		err = setMode(f, lockMode) // earlier versions made it readable for all
	}
	if err != nil && f != nil {
		f.Close()
		return nil, err
	}
	return f, err
}

// removePooledPartial removes the partial files of blobs that are in the pool, which remain when a writer is killed while it
// publishes a blob.
func (p *Pool) removePooledPartial() {
	names, err := p.partial.names()
	if err != nil {
		return
	}
	for _, n := range names {
		if st, err := p.blobs.stat(n); !isBlobName(n) || err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		f, err := p.partial.openFile(n)
		if err != nil {
			continue
		}
		if flock(f, unix.LOCK_EX|unix.LOCK_NB) == nil && p.partial.is(f, n) {
			_ = p.partial.remove(n)
		}
		f.Close()
	}
}

// keyedMutex is a mutex for each digest. The zero value is ready for use.
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

// isAbsent reports whether an error means that a name does not exist.
func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
