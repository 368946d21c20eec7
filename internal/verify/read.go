package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/panics"
	"osbuild-containers/internal/progress"
)

// Errors of damaged files.
var (
	errNotOfImage  = errors.New("the manifest of another image")
	errNoSignature = errors.New("not a signature")
)

// mismatch reports that a digest is not the wanted one.
type mismatch struct{ got, want string }

func (m *mismatch) Error() string { return fmt.Sprintf("one for %q, want %s", m.got, m.want) }

func itoa(n int) string { return strconv.Itoa(n) }

// pieceSize is how much of a file is read at once, in bytes: small enough to be hashed from the processor's cache.
const pieceSize = 128 << 10

// reader reads files of a cache, each once.
type reader struct {
	cache   *cache.Cache
	log     *progress.Reporter
	reports []*report
	files   map[cache.FileID]*reading
	fresh   []*reading // without an owner so far
	damaged []Damage   // files of no image
	bytes   atomic.Int64
	mu      sync.Mutex // guards the lists of damage
}

// reading is one file and its names.
type reading struct {
	stored cache.Stored
	owner  *owner
	uses   []use
}

// use is one name of a file and its role under that name.
type use struct {
	report *report // nil if of no image
	title  string
	what   Part
	digest digest.Digest
	path   string
	open   func() (*os.File, error)
}

// owner is one item of the progress display: the files of an image that belong to no earlier image.
type owner struct {
	item *progress.Item
	left atomic.Int64 // files left to read
	size int64
}

// collect determines which files to read.
func (r *reader) collect(images []*cacheinfo.Image, all bool) error {
	var owners []*owner
	for _, i := range images {
		e := r.examine(i)
		if e == nil {
			e = &report{Image: i, unread: true} // removed or replaced: read it again
		}
		r.reports = append(r.reports, e)
		owners = r.assign(owners, i.Title())
	}
	if all {
		pooled, err := r.cache.Pooled()
		if err != nil {
			return err
		}
		for _, s := range pooled {
			r.add(s, use{
				title: "the pool", what: PartPool, digest: s.Digest, path: r.cache.PooledPath(s.Digest),
				open: func() (*os.File, error) { return r.cache.OpenPooled(s.Digest) },
			})
		}
		files, err := r.cache.Files()
		if err != nil {
			return err
		}
		for _, s := range files {
			path := r.cache.FilePath(s.Digest)
			r.add(s, use{
				title: filepath.Base(filepath.Dir(path)), what: PartFile, digest: s.Digest, path: path,
				open: func() (*os.File, error) { return r.cache.OpenFile(s.Digest) },
			})
		}
		owners = r.assign(owners, "pool and lists")
	}
	r.log.Begin(len(owners))
	for _, o := range owners {
		o.item.Start("", 0, o.size)
	}
	return nil
}

// assign groups what was added last under one title.
func (r *reader) assign(owners []*owner, title string) []*owner {
	if len(r.fresh) == 0 {
		return owners
	}
	o := &owner{item: r.log.Item(title)}
	for _, f := range r.fresh {
		f.owner = o
		o.size = manifest.AddSizes(o.size, f.stored.Size)
	}
	o.left.Store(int64(len(r.fresh)))
	r.fresh = nil
	return append(owners, o)
}

// addBlob adds a blob of an image, unless it is already known to be damaged.
func (r *reader) addBlob(e *report, pub *cache.Published, d manifest.Descriptor, config digest.Digest) {
	what, path := PartLayer, pub.BlobPath(d.Digest)
	if d.Digest == config {
		what = PartConfig
	}
	s, err := pub.Stored(d.Digest)
	switch {
	case err != nil:
		e.unreadable(what, d.Digest, path, err)
	case s.Size != d.Size:
		e.addDamage(what, d.Digest, path, "%d bytes, want %d", s.Size, d.Size)
	default:
		r.add(s, use{e, "", what, d.Digest, path, func() (*os.File, error) { return r.cache.OpenImageBlob(e.ID, d.Digest) }})
	}
}

func (r *reader) add(s cache.Stored, u use) {
	f := r.files[s.FileID]
	if f == nil {
		f = &reading{stored: s}
		r.files[s.FileID] = f
		r.fresh = append(r.fresh, f)
	}
	f.uses = append(f.uses, u)
}

// read reads all files, the largest first so that all processors finish at about the same time.
func (r *reader) read(ctx context.Context) error {
	files := make([]*reading, 0, len(r.files))
	for _, f := range r.files {
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b *reading) int {
		return cmp.Or(cmp.Compare(b.stored.Size, a.stored.Size), cmp.Compare(a.stored.Ino, b.stored.Ino))
	})
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			buf := make([]byte, pieceSize)
			for n := next.Add(1) - 1; n < int64(len(files)); n = next.Add(1) - 1 {
				if err := panics.Catch(func() error { return r.readFile(ctx, files[n], buf) }); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// readFile reads one file and records damage.
func (r *reader) readFile(ctx context.Context, f *reading, buf []byte) error {
	bar := f.owner.item.Blob("blob", 0, 0, f.uses[0].digest.String(), f.stored.Size)
	bar.Begin("downloading")
	got, err := r.hash(ctx, f, buf, bar)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	bar.Done()
	if f.owner.left.Add(-1) == 0 {
		f.owner.item.Over()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range f.uses {
		switch {
		case err == nil && got == u.digest:
		case u.report != nil && err != nil:
			u.report.unreadable(u.what, u.digest, u.path, err)
		case u.report != nil:
			u.report.addDamage(u.what, u.digest, u.path, "%s", got)
		case errors.Is(err, fs.ErrNotExist): // removed or replaced meanwhile
		case err != nil:
			r.damaged = append(r.damaged, Damage{"", u.title, u.what, u.digest, u.path, err.Error()})
		default:
			r.damaged = append(r.damaged, Damage{"", u.title, u.what, u.digest, u.path, got.String()})
		}
	}
	return nil
}

// hash reads the file under the first of its names that still exists.
func (r *reader) hash(ctx context.Context, f *reading, buf []byte, bar *progress.Blob) (digest.Digest, error) {
	var in *os.File
	var err error
	for _, u := range f.uses {
		if in, err = u.open(); err == nil && f.stored.Is(in) {
			break
		} else if err == nil {
			in.Close()
			err = &fs.PathError{Op: "open", Path: u.path, Err: fs.ErrNotExist}
		}
	}
	if err != nil {
		return "", err
	}
	defer in.Close()
	_ = unix.Fadvise(int(in.Fd()), 0, 0, unix.FADV_SEQUENTIAL)
	h := digest.SHA256.Hash()
	for {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		n, err := in.Read(buf)
		h.Write(buf[:n])
		bar.Add(int64(n))
		r.bytes.Add(int64(n))
		if err == io.EOF {
			return digest.NewDigest(digest.SHA256, h), nil
		}
		if err != nil {
			return "", err
		}
	}
}
