package transfer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/layer"
)

// bufferSize is how much of an archive goes from one goroutine to the next at a time.
const bufferSize = 256 << 10

// differ unpacks one layer where the store wants it, and notes what the store keeps of
// it: the archive without the contents of its files, and the owners.
type differ struct {
	stream *layer.Stream
	blob   layer.Blob
	clamp  func(path string) error // sets a time that is new; nil to leave it
	err    error                   // of reading the layer
}

// ApplyDiff is what the store calls.
func (d *differ) ApplyDiff(dest string, options *archive.TarOptions, _ *graphdriver.DifferOptions) (out graphdriver.DriverWithDifferOutput, err error) {
	out.Differ = d
	fd, err := unix.MemfdCreate("tar-split", unix.MFD_CLOEXEC)
	if err != nil {
		return out, fmt.Errorf("make memory file: %w", err)
	}
	split := os.NewFile(uintptr(fd), "tar-split")
	defer func() {
		if err != nil {
			split.Close()
		}
	}()
	notes := bufio.NewWriterSize(split, bufferSize)
	o := newOwners()
	in := &remember{r: d.stream}
	err = unpack(in, dest, options, notes, o)
	if in.err != nil {
		d.err = in.err
	}
	if err = errors.Join(in.err, err); err != nil {
		return out, err
	}
	if d.clamp != nil {
		if err := inside(dest, func() error { return d.clampAll(o.timeless()) }); err != nil {
			return out, err
		}
	}
	if err := notes.Flush(); err != nil {
		return out, fmt.Errorf("write memory file: %w", err)
	}
	out.TarSplit = split
	out.UIDs, out.GIDs, out.RootDirMode = o.list(o.uids), o.list(o.gids), o.root
	out.UncompressedDigest, out.CompressedDigest = d.blob.DiffID, d.blob.Digest
	out.Size = d.stream.Bytes()
	return out, nil
}

func (d *differ) clampAll(names []string) error {
	for _, name := range names {
		err := d.clamp(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue // the layer has something else in its place
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Close does nothing: who opened the stream closes it.
func (d *differ) Close() error { return nil }

// unpack lets two read the archive: one unpacks it, the other makes the notes. It ends
// when both have read all of it, or with the first error.
func unpack(in *remember, dest string, options *archive.TarOptions, notes io.Writer, o *owners) error {
	files, toFiles := io.Pipe()
	headers, toHeaders := io.Pipe()
	var work errgroup.Group
	work.Go(func() error {
		both := struct{ io.Writer }{io.MultiWriter(toFiles, toHeaders)}
		_, err := io.CopyBuffer(both, struct{ io.Reader }{in}, make([]byte, bufferSize))
		toFiles.CloseWithError(err)
		toHeaders.CloseWithError(err)
		return err
	})
	work.Go(func() error {
		err := inside(dest, func() error {
			r := bufio.NewReaderSize(files, bufferSize)
			if err := archive.Unpack(r, "/", options); err != nil {
				return err
			}
			_, err := r.WriteTo(io.Discard) // what follows the archive
			return err
		})
		files.CloseWithError(err)
		return err
	})
	work.Go(func() error {
		err := split(bufio.NewReaderSize(headers, bufferSize), storage.NewJSONPacker(notes), o)
		headers.CloseWithError(err)
		return err
	})
	return work.Wait()
}

// inside calls f in a thread whose root is the folder: nothing that f opens by its name
// lies outside, whatever symbolic links there are. The thread ends with f.
func inside(dir string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: other goroutines have the root that they had
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return fmt.Errorf("make thread with a root of its own: %w", err)
			}
			if err := unix.Chroot(dir); err != nil {
				return fmt.Errorf("change root to %s: %w", dir, err)
			}
			if err := unix.Chdir("/"); err != nil {
				return fmt.Errorf("change root to %s: %w", dir, err)
			}
			unix.Umask(0o022) // for folders that the layer does not name
			return f()
		}()
	}()
	return <-done
}
