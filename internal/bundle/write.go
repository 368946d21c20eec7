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
		err = o.check(place)
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
	partial := "." + place.Base + ".partial"
	f, err := atomicfile.Resume(place.Dir, place.Base, partial)
	kept := err == nil
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
		if n := onDisk(f.File); kept && n > 0 && f.Keep() == nil {
			err = hint.Add(err, "%s are kept in %s: run it again to continue, or remove that file", progress.Bytes(n),
				filepath.Join(filepath.Dir(place.Path), partial))
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

// writeDir writes the layout to a directory next to its destination, .NAME.new, and renames it. It holds a lock on it, so that
// leftovers of killed processes can be recognised.
func (b *Bundle) writeDir(ctx context.Context, place *resolve.Place) (err error) {
	in, temp := place.Dir, "."+place.Base+".new"
	dir, err := newDir(place, temp)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(below(in, temp)))
		}
		dir.Close()
	}()
	if err := b.content.WriteDir(ctx, dir); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := unix.Renameat(int(in.Fd()), temp, int(in.Fd()), place.Base); err != nil { // also replaces an empty directory
		return &os.LinkError{Op: "rename", Old: dir.Name(), New: place.Path, Err: err}
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

// newDir creates and locks an empty directory next to the destination. One left by a killed process is removed; one of another
// user is refused.
func newDir(place *resolve.Place, name string) (*os.File, error) {
	in, path := int(place.Dir.Fd()), filepath.Join(filepath.Dir(place.Path), name)
	for {
		made := unix.Mkdirat(in, name, 0o755)
		if made != nil && made != unix.EEXIST {
			return nil, &os.PathError{Op: "mkdir", Path: path, Err: made}
		}
		fd, err := unix.Openat(in, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == unix.ENOENT {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		dir := os.NewFile(uintptr(fd), path)
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err == nil {
			err = resolve.Vet(place.Dir, &st, path)
		}
		if err == nil && unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil {
			err = fmt.Errorf("another process is writing %s", path)
		}
		if err == nil && made == nil {
			err = dir.Chmod(0o755) // independent of the umask
			if err == nil {
				return dir, nil
			}
		}
		if err == nil {
			err = os.RemoveAll(below(place.Dir, name))
		}
		dir.Close()
		if err != nil {
			return nil, err
		}
	}
}
