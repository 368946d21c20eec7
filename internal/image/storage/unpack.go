package storage

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"sync"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/idtools"
	"github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/layer"
	"osbuild-containers/internal/panics"
)

// bufferSize is the size of the pieces of an archive passed between goroutines, in bytes.
const bufferSize = 256 << 10

// differ unpacks one layer to where the store wants it, and writes its tar-split data and owners.
type differ struct {
	stream *layer.Stream
	chain  *chain
	dir    string                  // of the store's tar-split data
	clamp  func(path string) error // sets a time that is new; nil to leave it
	err    error                   // error before the store wraps it

	ignoreOwners bool
}

// ApplyDiff is called by the store.
func (d *differ) ApplyDiff(dest string, options *archive.TarOptions, _ *graphdriver.DifferOptions) (out graphdriver.DriverWithDifferOutput, err error) {
	defer func() { d.err = err }()
	out.Differ = d
	n, err := newSplitFile(d.dir, maxTarSplit)
	if err != nil {
		return out, err
	}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	o := newOwners(d.stream, d.chain.image, d.dir, d.ignoreOwners)
	o.overlay = true
	if d.ignoreOwners {
		options.ChownOpts = &idtools.IDPair{UID: unix.Geteuid(), GID: unix.Getegid()}
	}
	if err := unpack(d.stream, dest, options, storage.NewJSONPacker(n.zip), o); err != nil {
		return out, o.opaqueError(dest, err)
	}
	if d.clamp != nil {
		if err := inChroot(dest, func() error { return d.clampAll(o.withoutTime()) }); err != nil {
			return out, err
		}
	}
	if err := n.finish(); err != nil {
		return out, err
	}
	d.chain.tarSplit, d.chain.lost = n, o.lost
	out.UIDs, out.GIDs, out.RootDirMode = o.list(o.uids), o.list(o.gids), o.root
	out.UncompressedDigest, out.CompressedDigest = d.chain.blob.DiffID, d.chain.blob.Digest
	out.Size = d.stream.Bytes()
	return out, nil
}

func (d *differ) clampAll(names []string) error {
	for _, name := range names {
		err := d.clamp(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue // replaced by the layer
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Close does nothing: the opener of the stream closes it.
func (d *differ) Close() error { return nil }

// unpack reads the archive while another goroutine unpacks it. It returns when both are done, or with the first error.
func unpack(in *layer.Stream, dest string, options *archive.TarOptions, tarSplit storage.Packer, o *owners) error {
	out, to := io.Pipe()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var unpacked error
	var work sync.WaitGroup
	work.Go(func() {
		unpacked = inChroot(dest, func() error {
			r := bufio.NewReaderSize(out, bufferSize)
			if err := archive.Unpack(r, "/", options); err != nil {
				return err
			}
			_, err := r.WriteTo(io.Discard) // drain what follows the archive
			return err
		})
		if unpacked != nil {
			cancel(unpacked)
		}
		out.CloseWithError(unpacked)
	})
	var raw bytes.Buffer
	pass, end := o.devices.edit(into(to))
	err := split(ctx, in.Pass(pass, &raw), &raw, tarSplit, o)
	if err == nil {
		err = end()
	}
	to.CloseWithError(err)
	work.Wait()
	if err == nil {
		err = unpacked
	}
	return err
}

// into writes pieces to a pipe.
func into(to *io.PipeWriter) func(piece []byte) error {
	return func(piece []byte) error {
		_, err := to.Write(piece)
		return err
	}
}

// inChroot calls f in a thread chrooted to dir, so that f can open nothing outside it by name, whatever symbolic links
// there are. The thread ends with f.
func inChroot(dir string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread must not run other goroutines
		done <- panics.Catch(func() error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return fmt.Errorf("make thread with a root of its own: %w", err)
			}
			if err := unix.Chroot(dir); err != nil {
				return fmt.Errorf("change root to %s: %w", dir, err)
			}
			if err := unix.Chdir("/"); err != nil {
				return fmt.Errorf("change root to %s: %w", dir, err)
			}
			unix.Umask(0o022) // for directories that are not in the layer
			return f()
		})
	}()
	return <-done
}
