package layout

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/manifest"
)

const block = 512 // of a tar file

// archive is a tar file. All sizes are known beforehand, so blobs are written to their
// places in any order.
type archive struct {
	in   *os.File // the folder
	name string
	opt  Options
	out  *os.File
	end  int64 // where the next entry goes
	err  error // the first one
}

func newArchive(in *os.File, name string, opt Options) (*archive, error) {
	out, err := createAt(in, name)
	if err != nil {
		return nil, err
	}
	return &archive{in: in, name: name, opt: opt, out: out}, nil
}

func (a *archive) remove() error { return unix.Unlinkat(int(a.in.Fd()), a.name, 0) }

// header writes an entry's header and returns where its content goes.
func (a *archive) header(kind byte, name string, mode, size int64) int64 {
	t, _ := a.opt.time()
	header, err := tarHeader(kind, name, mode, size, t)
	if err == nil {
		_, err = a.out.WriteAt(header, a.end)
	}
	a.err = cmp.Or(a.err, err)
	at := a.end + int64(len(header))
	a.end = at + padded(size)
	return at
}

func tarHeader(kind byte, name string, mode, size int64, t time.Time) ([]byte, error) {
	var b bytes.Buffer
	err := tar.NewWriter(&b).WriteHeader(&tar.Header{
		Typeflag: kind, Name: name, Mode: mode, Size: size, ModTime: t,
	})
	return b.Bytes(), err
}

// padded is the size that content has in a tar file.
func padded(size int64) int64 { return (size + block - 1) / block * block }

func (a *archive) folder(name string) { a.header(tar.TypeDir, name, 0o755, 0) }

func (a *archive) file(name string, content []byte) {
	at := a.header(tar.TypeReg, name, 0o644, int64(len(content)))
	_, err := a.out.WriteAt(content, at)
	a.err = cmp.Or(a.err, err)
}

// blobs writes the image's blobs, in the order of their digests.
func (a *archive) blobs(ctx context.Context, img Image) error {
	blobs := img.Manifest().Blobs()
	slices.SortFunc(blobs, func(x, y manifest.Descriptor) int { return cmp.Compare(x.Digest, y.Digest) })
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for _, d := range blobs {
		at := a.header(tar.TypeReg, blobDir+d.Digest.Encoded(), 0o644, d.Size)
		group.Go(func() error {
			began := time.Now()
			if err := copyBlob(ctx, a.out, at, img, d, nil); err != nil {
				return err
			}
			a.opt.told(img, d, "copied", began)
			return nil
		})
	}
	return group.Wait()
}

// sizeOf is the size of an archive whose last entry ends there: two empty blocks follow, and what
// fills up its last record, as tar does.
func sizeOf(end int64) int64 {
	const record = 20 * block
	return (end + 2*block + record - 1) / record * record
}

// finish ends the archive.
func (a *archive) finish() error {
	err := errors.Join(a.err, a.out.Truncate(sizeOf(a.end)), a.out.Chmod(0o644))
	if t, given := a.opt.time(); given && err == nil {
		err = setTime(a.out, t)
	}
	return err
}

// close ends the archive and closes it.
func (a *archive) close() error {
	if err := errors.Join(a.finish(), a.out.Close()); err != nil {
		return fmt.Errorf("write archive %s: %w", a.name, err)
	}
	return nil
}
