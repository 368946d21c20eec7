package ocilayout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/atomicfile"
	"osbuild-containers/internal/manifest"
)

// dirWriter writes below an open directory.
type dirWriter struct {
	opt  Options
	at   *os.File
	dirs map[string]*os.File
}

func newDirWriter(at *os.File, opt Options) *dirWriter {
	return &dirWriter{opt: opt, at: at, dirs: map[string]*os.File{"": at}}
}

func (f *dirWriter) close() {
	for name, d := range f.dirs {
		if name != "" {
			d.Close()
		}
	}
}

// finish sets the times of the directories.
func (f *dirWriter) finish() error {
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

// mkdir creates or opens a directory.
func (f *dirWriter) mkdir(name string) error {
	in, base := f.parent(name)
	if err := unix.Mkdirat(int(in.Fd()), base, 0o755); err != nil && err != unix.EEXIST {
		return fmt.Errorf("make directory %s: %w", name, err)
	}
	fd, err := unix.Openat(int(in.Fd()), base, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open directory %s: %w", name, err)
	}
	f.dirs[name] = os.NewFile(uintptr(fd), name)
	return nil
}

// parent returns the directory of the file, opened by mkdir, and the rest of its name.
func (f *dirWriter) parent(name string) (*os.File, string) {
	dir, base := path.Split(name)
	return f.dirs[strings.TrimSuffix(dir, "/")], base
}

// put writes a file with fill and then gives it its name, replacing an existing file: no incomplete or unverified file has
// the name.
func (f *dirWriter) put(name string, fill func(*os.File) error) error {
	in, base := f.parent(name)
	return put(in, base, f.opt, fill)
}

func put(in *os.File, base string, opt Options, fill func(*os.File) error) error {
	file, err := atomicfile.CreateIn(in, base)
	if err != nil {
		return fmt.Errorf("create %s: %w", base, err)
	}
	defer file.Discard()
	if err = fill(file.File); err != nil {
		return fmt.Errorf("write %s: %w", base, err)
	}
	if t, given := opt.time(); given {
		err = setTime(file.File, t)
	}
	if err == nil {
		err = file.Commit()
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", base, err)
	}
	return nil
}

func (f *dirWriter) write(name string, content []byte) error {
	return f.put(name, func(file *os.File) error {
		_, err := file.Write(content)
		return err
	})
}

// open opens a regular file of the directory for reading. It checks the type first: opening a FIFO or device may block or
// have side effects.
func (f *dirWriter) open(name string) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(int(f.at.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errNotRegular
	}
	fd, err := unix.Openat(int(f.at.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), name)
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() { // replaced in the meantime
		return nil, errors.Join(cmp.Or(err, errNotRegular), file.Close())
	}
	return file, nil
}

var errNotRegular = errors.New("not a regular file")

// read reads a small file. The error is fs.ErrNotExist if it does not exist.
func (f *dirWriter) read(name string) ([]byte, error) {
	file, err := f.open(name)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, manifest.MaxSize+1))
	if err == nil && len(raw) > manifest.MaxSize {
		err = fmt.Errorf("%s is longer than the limit of %d bytes", name, manifest.MaxSize)
	}
	return raw, err
}

// clear empties a directory that contains an image, and refuses one with other content.
func (f *dirWriter) clear(mark, begins string) error {
	names, err := f.at.Readdirnames(-1)
	if err != nil || len(names) == 0 {
		return err
	}
	if content, err := f.read(mark); err != nil || !strings.HasPrefix(string(content), begins) {
		return errors.New("the directory is not empty and not an image in this format: use another path")
	}
	for _, name := range names {
		if err := unix.Unlinkat(int(f.at.Fd()), name, 0); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}

// blobs writes the images' blobs, each once, several in parallel.
func (f *dirWriter) blobs(ctx context.Context, prefix string, images []Item) error {
	var blobs []manifest.Descriptor
	from := map[digest.Digest]Item{}
	for _, img := range images {
		for _, d := range img.Manifest().Blobs() {
			if _, seen := from[d.Digest]; !seen {
				from[d.Digest] = img
				blobs = append(blobs, d)
			}
		}
	}
	return each(ctx, blobs, func(ctx context.Context, d manifest.Descriptor) error {
		began, img, how := time.Now(), from[d.Digest], ""
		err := f.put(prefix+d.Digest.Encoded(), func(file *os.File) (err error) {
			how, err = copyBlob(ctx, file, 0, img, d, nil)
			return err
		})
		if err != nil {
			return fmt.Errorf("image %q: %w", img.Name(), err)
		}
		f.opt.told(img, d, how, began)
		return nil
	})
}
