package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/output"
	"osbuild-containers/internal/progress"
)

// Output is where a bundle goes.
type Output struct {
	Path   string // a file or a folder
	Format string // FormatOCI or FormatArchive
	Zstd   bool   // the archive is compressed
}

// Check says what is in the way, before any work is done.
func (o Output) Check() error {
	fi, err := os.Stat(o.Path)
	switch {
	case errors.Is(err, os.ErrNotExist) && o.Format == FormatOCI && isLink(o.Path):
		err = fmt.Errorf("%s is a link that leads nowhere: name a folder", o.Path)
	case errors.Is(err, os.ErrNotExist):
		err = nil
		if _, e := os.Stat(filepath.Dir(filepath.Clean(o.Path))); e != nil {
			err = e
		}
	case err != nil:
	case o.Format == FormatArchive && fi.IsDir():
		err = fmt.Errorf("%s is a folder: name a file, or use --format oci", o.Path)
	case o.Format == FormatOCI && !fi.IsDir():
		err = fmt.Errorf("%s is a file: name a folder, or use --format oci-archive", o.Path)
	case o.Format == FormatOCI && !isEmpty(o.Path):
		err = fmt.Errorf("%s is there, and not empty: name another folder, or remove it first", o.Path)
	case o.Format == FormatOCI && isUsed(o.Path, fi):
		err = fmt.Errorf("%s is in use, as a mount point or the folder you are in: name one in it", o.Path)
	}
	if err != nil {
		return &RefusedError{err}
	}
	return nil
}

func isEmpty(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	return err == io.EOF
}

func isLink(path string) bool {
	_, err := os.Readlink(filepath.Clean(path))
	return err == nil
}

// isUsed says whether something would be lost if another folder took the place of this one.
func isUsed(path string, fi os.FileInfo) bool {
	if here, err := os.Stat("."); err == nil && os.SameFile(here, fi) {
		return true
	}
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, 0, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// Write writes the bundle. It has its name when it is complete and on disk.
func (b *Bundle) Write(ctx context.Context, o Output, log *progress.Reporter) error {
	done := b.tell(log)
	var err error
	switch fi, e := os.Stat(o.Path); {
	case o.Format == FormatOCI:
		err = b.folder(ctx, resolved(filepath.Clean(o.Path)))
	case e == nil && !fi.Mode().IsRegular():
		err = b.special(ctx, o)
	default:
		err = b.file(ctx, o)
	}
	if err == nil {
		done()
	}
	return written(o.Path, err)
}

// Stream writes the bundle as an archive to w.
func (b *Bundle) Stream(ctx context.Context, w io.Writer, compressed bool, log *progress.Reporter) error {
	done := b.tell(log)
	err := b.stream(ctx, w, compressed)
	if err == nil {
		done()
	}
	return written("the bundle", err)
}

func written(path string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = fmt.Errorf("%w\nmake room, or write to another disk with -o", err)
	}
	return fmt.Errorf("write %s: %w", path, err)
}

// encoders is how many goroutines compress. It is the same on all machines, so that the output is.
const encoders = 2

// stream writes the archive from its beginning to its end. What is in it is compressed already, for
// the most part, so that the fastest level is as good as any.
func (b *Bundle) stream(ctx context.Context, w io.Writer, compressed bool) error {
	if !compressed {
		return b.content.Stream(ctx, w)
	}
	enc, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(encoders))
	if err != nil {
		return err
	}
	return errors.Join(b.content.Stream(ctx, enc), enc.Close())
}

// special writes to a pipe or a device.
func (b *Bundle) special(ctx context.Context, o Output) error {
	f, err := os.OpenFile(o.Path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(b.stream(ctx, f, o.Zstd), f.Close())
}

// resolved is where links lead: what is there is replaced, and they stay.
func resolved(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

// file writes an archive, which takes the place of the file that has its name.
func (b *Bundle) file(ctx context.Context, o Output) error {
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return err
	}
	f, err := output.Create("/", resolved(path))
	if err != nil {
		return err
	}
	defer f.Discard()
	if o.Zstd {
		err = b.stream(ctx, f, true)
		if err == nil {
			err = f.Sync()
		}
	} else {
		err = b.content.Archive(ctx, f.File)
	}
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := f.Commit(); err != nil {
		return err
	}
	return f.SyncName()
}

// folder writes the layout into a folder beside its place, .NAME.new, and moves it there. Who writes
// it holds its lock, so that what a process that was killed left can be told from what is being
// written.
func (b *Bundle) folder(ctx context.Context, path string) (err error) {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	dir, err := newFolder(temp)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
		dir.Close()
	}()
	if err := b.content.Folder(ctx, dir); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := unix.Rename(temp, path); err != nil { // over an empty folder, too
		return &os.LinkError{Op: "rename", Old: temp, New: path, Err: err}
	}
	parent, err := os.Open(filepath.Dir(path)) // so that its name outlasts a crash
	if err != nil {
		return fmt.Errorf("sync the folder above: %w", err)
	}
	defer parent.Close()
	if err := parent.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("sync the folder above: %w", err)
	}
	return nil
}

// newFolder makes an empty folder, and locks it. One that a process that was killed has left gives way.
func newFolder(path string) (*os.File, error) {
	for {
		err := os.Mkdir(path, 0o755)
		if err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
		dir, e := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if e != nil {
			return nil, e
		}
		if unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			dir.Close()
			return nil, fmt.Errorf("another process is writing %s", path)
		}
		if err == nil {
			return dir, dir.Chmod(0o755) // whatever the umask
		}
		err = os.RemoveAll(path)
		dir.Close()
		if err != nil {
			return nil, err
		}
	}
}
