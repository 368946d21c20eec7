package layout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/manifest"
)

// folder is what is written, below a handle.
type folder struct {
	opt   Options
	at    *os.File
	dirs  map[string]*os.File
	quick shortcut
}

func newFolder(at *os.File, opt Options) *folder {
	return &folder{opt: opt, at: at, dirs: map[string]*os.File{"": at}}
}

func (f *folder) close() {
	for name, d := range f.dirs {
		if name != "" {
			d.Close()
		}
	}
}

// finish sets the times of the folders.
func (f *folder) finish() error {
	t, given := f.opt.time()
	if !given {
		return nil
	}
	for _, d := range f.dirs {
		if err := setTime(d, t); err != nil {
			return err
		}
	}
	return nil
}

func setTime(f *os.File, t time.Time) error {
	ts := unix.NsecToTimespec(t.UnixNano())
	empty := []unix.Timespec{ts, ts}
	if err := unix.UtimesNanoAt(int(f.Fd()), "", empty, unix.AT_EMPTY_PATH); err == nil {
		return nil
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), empty, 0); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}

// mkdir makes a folder, or opens the one that is there.
func (f *folder) mkdir(name string) error {
	in, base := f.parent(name)
	if err := unix.Mkdirat(int(in.Fd()), base, 0o755); err != nil && err != unix.EEXIST {
		return fmt.Errorf("make folder %s: %w", name, err)
	}
	fd, err := unix.Openat(int(in.Fd()), base, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open folder %s: %w", name, err)
	}
	f.dirs[name] = os.NewFile(uintptr(fd), name)
	return nil
}

// parent is the folder that the file lies in, which mkdir has opened.
func (f *folder) parent(name string) (*os.File, string) {
	dir, base := path.Split(name)
	return f.dirs[strings.TrimSuffix(dir, "/")], base
}

// create makes a file, in the place of one that is there.
func (f *folder) create(name string) (*os.File, error) {
	in, base := f.parent(name)
	return createAt(in, base)
}

// createAt never writes through a link: what has the name loses it.
func createAt(in *os.File, base string) (*os.File, error) {
	if err := unix.Unlinkat(int(in.Fd()), base, 0); err != nil && err != unix.ENOENT {
		return nil, fmt.Errorf("replace %s: %w", base, err)
	}
	fd, err := unix.Openat(int(in.Fd()), base, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", base, err)
	}
	return os.NewFile(uintptr(fd), base), nil
}

func (f *folder) write(name string, content []byte) error {
	file, err := f.create(name)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return f.done(file, err)
}

// done sets mode and time of the file and closes it.
func (f *folder) done(file *os.File, err error) error {
	if err == nil {
		err = file.Chmod(0o644)
	}
	if t, given := f.opt.time(); given && err == nil {
		err = setTime(file, t)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", file.Name(), err)
	}
	return nil
}

// read reads a small file; there is none if the error is fs.ErrNotExist.
func (f *folder) read(name string) ([]byte, error) {
	fd, err := unix.Openat(int(f.at.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, manifest.MaxSize))
}

// clear empties a folder that has an image, and refuses one that has something else.
func (f *folder) clear(mark, begins string) error {
	names, err := f.at.Readdirnames(-1)
	if err != nil || len(names) == 0 {
		return err
	}
	if content, err := f.read(mark); err != nil || !strings.HasPrefix(string(content), begins) {
		return errors.New("the folder is there, and what is in it is no image in this format: use another path")
	}
	for _, name := range names {
		if err := unix.Unlinkat(int(f.at.Fd()), name, 0); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}

// blobs puts the images' blobs there, each once, several at a time.
func (f *folder) blobs(ctx context.Context, prefix string, images []Image) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	seen := map[digest.Digest]bool{}
	for _, img := range images {
		for _, d := range img.Manifest().Blobs() {
			if seen[d.Digest] {
				continue
			}
			seen[d.Digest] = true
			name := prefix + d.Digest.Encoded()
			if f.quickly(name, img, d) {
				continue
			}
			group.Go(func() error {
				if err := f.blob(ctx, name, img, d); err != nil {
					return fmt.Errorf("image %q: %w", img.Name(), err)
				}
				return nil
			})
		}
	}
	return group.Wait()
}

// quickly clones or links a blob, and reports whether that went.
func (f *folder) quickly(name string, img Image, d manifest.Descriptor) bool {
	b, ok, err := img.File(d)
	if err != nil || !ok || !b.Whole {
		return false
	}
	began := time.Now()
	in, base := f.parent(name)
	if !f.quick.noClone {
		if file, err := f.create(name); err == nil {
			if err := clone(file, b); err == nil && f.done(file, nil) == nil {
				f.opt.told(img, d, "cloned", began)
				return true
			}
			file.Close()
		}
		f.quick.noClone = true
	}
	if f.quick.noLink {
		return false
	}
	_ = unix.Unlinkat(int(in.Fd()), base, 0)
	if err := link(in, base, b); err != nil {
		f.quick.noLink = err != unix.EMLINK
		return false
	}
	f.opt.told(img, d, "linked", began)
	return true
}

func (f *folder) blob(ctx context.Context, name string, img Image, d manifest.Descriptor) error {
	began := time.Now()
	file, err := f.create(name)
	if err != nil {
		return err
	}
	if err := f.done(file, copyBlob(ctx, file, 0, img, d, nil)); err != nil {
		return err
	}
	f.opt.told(img, d, "copied", began)
	return nil
}
