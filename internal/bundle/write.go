package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/atomicfile"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/ocilayout"
	"osbuild-containers/internal/pack"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/resolve"
)

// Output says where a bundle is written.
type Output struct {
	Path   string // a file or a directory
	Format string // FormatOCI or FormatArchive
	// Compression of the archive: "", CompressionGzip or CompressionZstd.
	Compression string
}

// Compressions of an archive.
const (
	CompressionGzip = "gzip"
	CompressionZstd = "zstd"
)

// Check returns an error if the bundle cannot be written to the output.
func (o Output) Check() error {
	place, err := resolve.Target(o.Path)
	if err == nil {
		if err = o.check(place); err == nil {
			err = written(o.Path, place.CheckWritable())
		}
		place.Close()
	}
	if err != nil {
		return &RefusedError{err}
	}
	return nil
}

func (o Output) check(place *resolve.Place) error {
	switch {
	case place.Stat == nil:
	case o.Format == FormatArchive && place.IsDir():
		return fmt.Errorf("%s is a directory: name a file, or use --format oci", o.Path)
	case o.Format == FormatArchive:
	case !place.IsDir():
		return fmt.Errorf("%s is a file: name a directory, or use --format oci-archive", o.Path)
	case !isEmpty(place):
		return fmt.Errorf("%s exists and is not empty: name another directory, or remove it first", o.Path)
	case isUsed(place):
		return fmt.Errorf("%s is in use, as a mount point or the directory you are in: name one in it", o.Path)
	}
	return nil
}

func isEmpty(place *resolve.Place) bool {
	f, err := place.Open(unix.O_RDONLY | unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	return err == io.EOF
}

// isUsed reports whether replacing the directory would lose something.
func isUsed(place *resolve.Place) bool {
	var here unix.Stat_t
	if unix.Stat(".", &here) == nil && here.Dev == place.Stat.Dev && here.Ino == place.Stat.Ino {
		return true
	}
	var st unix.Statx_t
	err := unix.Statx(int(place.Dir.Fd()), place.Base, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	return place.Base == "." || err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// Write writes the bundle, which gets its name when it is complete and synced.
func (b *Bundle) Write(ctx context.Context, o Output, log *progress.Reporter) error {
	done := b.tell(log)
	err := b.write(ctx, o)
	if err == nil {
		done()
	}
	return written(o.Path, err)
}

func (b *Bundle) write(ctx context.Context, o Output) error {
	place, err := resolve.Target(o.Path)
	if err != nil {
		return err
	}
	defer place.Close()
	if err := o.check(place); err != nil { // may have changed since Check
		return err
	}
	switch {
	case o.Format == FormatOCI:
		return b.writeDir(ctx, place)
	case place.Stat != nil && !place.IsRegular():
		return b.special(ctx, place, o.Compression)
	default:
		return b.file(ctx, place, o.Compression)
	}
}

// Stream writes the bundle to w as an archive.
func (b *Bundle) Stream(ctx context.Context, w io.Writer, compression string, log *progress.Reporter) error {
	done := b.tell(log)
	err := b.stream(ctx, w, compression)
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
		err = hint.Add(err, "make room, or write to another disk with -o")
	}
	return fmt.Errorf("write %s: %w", path, err)
}

// encoders is the number of compressing goroutines. It is constant, so that the output is the same on all machines.
const encoders = 2

// stream writes the archive. Most of its content is already compressed, so the fastest level is as good as any.
func (b *Bundle) stream(ctx context.Context, w io.Writer, compression string) error {
	var enc io.WriteCloser
	var err error
	switch compression {
	case "":
		return b.content.Stream(ctx, w)
	case CompressionGzip:
		enc, err = pack.Compress(w, pack.Compression{Format: compression, Level: 1})
	default:
		enc, err = zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(encoders))
	}
	if err != nil {
		return err
	}
	return errors.Join(b.content.Stream(ctx, enc), enc.Close())
}

// special writes to a pipe, a device, or an open file without a path.
func (b *Bundle) special(ctx context.Context, place *resolve.Place, compression string) error {
	f, err := place.Open(unix.O_WRONLY | unix.O_TRUNC)
	if err != nil {
		return err
	}
	return errors.Join(b.stream(ctx, f, compression), f.Close())
}

// file writes an archive and replaces the file of that name. An interrupted one is kept next to it as .NAME.partial; the next
// call writes what is missing or differs.
func (b *Bundle) file(ctx context.Context, place *resolve.Place, compression string) error {
	f, err := atomicfile.Resume(place.Dir, place.Base, partialName(place))
	resumable := err == nil
	if errors.Is(err, atomicfile.ErrForeign) || errors.Is(err, unix.EACCES) {
		f, err = atomicfile.CreateIn(place.Dir, place.Base)
	}
	if err != nil {
		return err
	}
	defer f.Discard()
	if compression == "" {
		err = b.content.WriteArchive(ctx, f.File)
	} else {
		err = b.compressed(ctx, f.File, compression)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
		if n := onDisk(f.File); resumable && n > 0 && f.Keep() == nil {
			err = hint.Kept(err, n, partialPath(place))
		}
	}
	if err != nil {
		return err
	}
	if err := f.Commit(); err != nil {
		return err
	}
	return f.SyncName()
}

// partialName returns the name of incomplete output next to its destination.
func partialName(place *resolve.Place) string { return "." + place.Base + ".partial" }

func partialPath(place *resolve.Place) string {
	return filepath.Join(filepath.Dir(place.Path), partialName(place))
}

// onDisk returns how many bytes a file occupies.
func onDisk(f *os.File) int64 {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return 0
	}
	return st.Blocks * 512
}

// compressed writes a compressed archive to a file that may contain the beginning of it.
func (b *Bundle) compressed(ctx context.Context, f *os.File, compression string) error {
	out := io.NewOffsetWriter(&ocilayout.Completer{File: f}, 0)
	if err := b.stream(ctx, out, compression); err != nil {
		return err
	}
	end, err := out.Seek(0, io.SeekCurrent)
	return errors.Join(err, f.Truncate(end), f.Chmod(0o644), f.Sync())
}

// writeDir writes the layout to a directory next to its destination, .NAME.partial, and renames it. It holds a lock on it. As of a
// file, what an interrupted call wrote is kept, and the next call writes what is missing or differs.
func (b *Bundle) writeDir(ctx context.Context, place *resolve.Place) error {
	in, partial := place.Dir, partialName(place)
	dir, err := partialDir(place)
	if err != nil {
		return err
	}
	defer dir.Close()
	err = b.content.WriteDir(ctx, dir)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
		if n := blobsOnDisk(dir); n > 0 {
			return hint.Kept(err, n, dir.Name())
		}
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(below(in, partial)))
	}
	if err := unix.Renameat(int(in.Fd()), partial, int(in.Fd()), place.Base); err != nil { // also replaces an empty directory
		err = &os.LinkError{Op: "rename", Old: dir.Name(), New: place.Path, Err: err}
		return errors.Join(err, os.RemoveAll(below(in, partial)))
	}
	parent, err := os.Open(below(in, ".")) // make the rename durable
	if err != nil {
		return fmt.Errorf("sync the directory above: %w", err)
	}
	defer parent.Close()
	if err := parent.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("sync the directory above: %w", err)
	}
	return nil
}

// below returns a path of name in an open directory, for system calls without a directory descriptor.
func below(dir *os.File, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
}

// partialDir opens, or creates, and locks the directory in which the output is written. One of another user is refused. What others
// could have written is removed.
func partialDir(place *resolve.Place) (*os.File, error) {
	in, name, path := int(place.Dir.Fd()), partialName(place), partialPath(place)
	for {
		made := unix.Mkdirat(in, name, 0o755)
		if made != nil && made != unix.EEXIST {
			return nil, &os.PathError{Op: "mkdir", Path: path, Err: made}
		}
		fd, err := unix.Openat(in, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == unix.ENOTDIR {
			// An interrupted export to a file may have left it.
			if f, err := atomicfile.Resume(place.Dir, name, name); err == nil {
				f.Discard()
				continue
			}
		}
		if err == unix.ENOENT {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		dir := os.NewFile(uintptr(fd), path)
		usable, err := usablePartial(place, dir, made == nil)
		if err == nil && usable {
			return dir, nil
		}
		if dir.Close(); err != nil {
			return nil, err
		}
	}
}

// usablePartial locks the directory, made by this process or found, and reports whether it can be written to. If not, it no
// longer has its name. Some file systems give all directories the same owner and mode: there a found one is never used.
func usablePartial(place *resolve.Place, dir *os.File, made bool) (bool, error) {
	var st, named unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return false, err
	}
	if err := resolve.Vet(place.Dir, &st, dir.Name()); err != nil {
		return false, err
	}
	if unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false, fmt.Errorf("another process is writing %s", dir.Name())
	}
	// The process that held the lock may have renamed or removed it.
	err := unix.Fstatat(int(place.Dir.Fd()), partialName(place), &named, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil || named.Ino != st.Ino || named.Dev != st.Dev {
		return false, nil //nolint:nilerr // the caller tries again
	}
	if !made && (int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0) {
		return false, os.RemoveAll(below(place.Dir, partialName(place)))
	}
	return true, dir.Chmod(0o755) // independent of the umask
}

// blobsOnDisk returns how many bytes the blobs in a layout occupy.
func blobsOnDisk(dir *os.File) (n int64) {
	blobs, err := os.ReadDir(below(dir, "blobs/sha256"))
	if err != nil {
		return 0
	}
	for _, e := range blobs {
		if info, err := e.Info(); err == nil {
			n += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
	}
	return n
}
