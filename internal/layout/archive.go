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
	var b bytes.Buffer
	err := tar.NewWriter(&b).WriteHeader(&tar.Header{
		Typeflag: kind, Name: name, Mode: mode, Size: size, ModTime: t,
	})
	if err == nil {
		_, err = a.out.WriteAt(b.Bytes(), a.end)
	}
	a.err = cmp.Or(a.err, err)
	at := a.end + int64(b.Len())
	a.end = at + (size+block-1)/block*block
	return at
}

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
			if err := copyBlob(ctx, a.out, at, img, d); err != nil {
				return err
			}
			a.opt.told(img, d, "copied", began)
			return nil
		})
	}
	return group.Wait()
}

// close ends the archive: two empty blocks, and what fills up its last record, as tar
// does.
func (a *archive) close() error {
	const record = 20 * block
	size := (a.end + 2*block + record - 1) / record * record
	err := errors.Join(a.err, a.out.Truncate(size), a.out.Chmod(0o644))
	if t, given := a.opt.time(); given && err == nil {
		err = setTime(a.out, t)
	}
	if err = errors.Join(err, a.out.Close()); err != nil {
		return fmt.Errorf("write archive %s: %w", a.name, err)
	}
	return nil
}
