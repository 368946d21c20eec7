package transfer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/chrootarchive"
	"github.com/containers/storage/pkg/tarlog"
	"github.com/vbatts/tar-split/archive/tar"
	"github.com/vbatts/tar-split/tar/asm"
	splitstorage "github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/layer"
)

// differ unpacks one layer where the store wants it, and notes what the store keeps of
// it: the archive without the contents of its files, and the owners.
type differ struct {
	stream *layer.Stream
	blob   layer.Blob
	time   *time.Time // of folders that the layer does not name; nil for now
	err    error      // of reading the layer
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
	notes := bufio.NewWriterSize(split, 256<<10)
	o := newOwners()
	in := &remember{r: d.stream}
	err = unpack(in, dest, options, notes, o)
	if in.err != nil {
		d.err = in.err
	}
	if err = errors.Join(in.err, err); err != nil {
		return out, err
	}
	if d.time != nil {
		if err := o.setTimes(dest, *d.time); err != nil {
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

// Close does nothing: who opened the stream closes it.
func (d *differ) Close() error { return nil }

func unpack(in *remember, dest string, options *archive.TarOptions, notes io.Writer, o *owners) error {
	log, err := tarlog.NewLogger(o.add)
	if err != nil {
		return err
	}
	defer log.Close() // waits until all was logged
	payload, err := asm.NewInputTarStream(io.TeeReader(in, log), splitstorage.NewJSONPacker(notes), splitstorage.NewDiscardFilePutter())
	if err != nil {
		return err
	}
	err = chrootarchive.UntarUncompressed(payload, dest, options)
	_, rest := io.Copy(io.Discard, payload) // so that whoever writes it ends
	return errors.Join(err, rest)
}

// owners are the owners of a layer's files.
type owners struct {
	uids, gids map[uint32]struct{}
	root       *os.FileMode // of the layer's root, where it has one

	dirs, parents map[string]struct{} // that the layer has, and that it needs
}

func newOwners() *owners {
	return &owners{uids: map[uint32]struct{}{}, gids: map[uint32]struct{}{}, dirs: map[string]struct{}{}, parents: map[string]struct{}{}}
}

func (o *owners) add(h *tar.Header) {
	name := path.Clean("/" + h.Name)
	if name == "/" {
		mode := h.FileInfo().Mode()
		o.root = &mode
	}
	if h.Typeflag == tar.TypeDir {
		o.dirs[name] = struct{}{}
	}
	o.parents[path.Dir(name)] = struct{}{}
	if strings.HasPrefix(path.Base(h.Name), archive.WhiteoutPrefix) {
		return
	}
	o.uids[uint32(h.Uid)] = struct{}{}
	o.gids[uint32(h.Gid)] = struct{}{}
}

// implied are the folders that the layer needs and does not have, which are as new as
// the moment.
func (o *owners) implied() []string {
	var dirs []string
	for dir := range o.parents {
		for ; ; dir = path.Dir(dir) {
			if _, ok := o.dirs[dir]; !ok {
				dirs = append(dirs, dir)
			}
			if dir == "/" {
				break
			}
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// setTimes gives them a time of their own. A folder that cannot be found is none.
func (o *owners) setTimes(dest string, t time.Time) error {
	implied := o.implied()
	if len(implied) == 0 {
		return nil
	}
	root, err := os.OpenRoot(dest)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, dir := range implied {
		name := "." + dir
		if info, err := root.Lstat(name); err != nil || !info.IsDir() {
			continue // replaced by something else in the layer
		}
		if err := root.Chtimes(name, t, t); err != nil {
			return fmt.Errorf("set time of %q: %w", dir, err)
		}
	}
	return nil
}

func (*owners) list(ids map[uint32]struct{}) []uint32 { return slices.Sorted(maps.Keys(ids)) }
