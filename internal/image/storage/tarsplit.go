package storage

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/unshare"
	"github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/ctxio"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/layer"
	"osbuild-containers/internal/userns"
)

// split writes tar-split data, from which the store can restore an archive bit for bit: everything but the contents of
// files, and their checksums. It replaces the library's asm.NewInputTarStream, and reads the entries only once for
// checking and unpacking too.
func split(ctx context.Context, in *layer.Reader, raw *bytes.Buffer, tarSplit storage.Packer, o *owners) error {
	segment := func() error {
		if raw.Len() == 0 {
			return nil
		}
		_, err := tarSplit.AddEntry(storage.Entry{Type: storage.SegmentType, Payload: raw.Bytes()})
		raw.Reset()
		return err
	}
	var sum checksum
	buf := make([]byte, bufferSize)
	for {
		h, entry, err := in.NextHeader()
		if err == io.EOF {
			return segment()
		}
		if err == nil {
			err = segment()
		}
		if err == nil {
			err = o.add(h, entry)
		}
		if err != nil {
			return err
		}
		if entry.Sparse { // do not make the unpacker wait until the holes are read
			if err := in.Flush(); err != nil {
				return err
			}
		}
		e := storage.Entry{Type: storage.FileType, Size: entry.Size} // not h.Size: links may have a size but no content
		e.SetName(h.Name)
		if e.Size > 0 {
			sum = 0
			if _, err := io.CopyBuffer(&sum, ctxio.Reader(ctx, in), buf); err != nil {
				return err
			}
			e.Payload = binary.BigEndian.AppendUint64(nil, uint64(sum))
		}
		if _, err := tarSplit.AddEntry(e); err != nil {
			return fmt.Errorf("%q: %w", h.Name, err) // a duplicate, which storages cannot have
		}
	}
}

// owners collects the owners of a layer's files and other facts that need all headers.
type owners struct {
	stream     *layer.Stream
	image      *layer.Tally
	disk       string // directory on the store's file system
	uids, gids map[uint32]struct{}
	root       *os.FileMode // mode of the layer's root directory, if it has one

	dirs, parents map[string]struct{} // directories in the layer, and those it needs
	last          string              // last one added to parents
	whiteouts     []string            // names they remove

	ids          *userns.IDs // owners must be among these; nil for all
	overlay      bool        // the store's driver is overlay
	ignoreOwners bool
	devices      *devices // nil if they can be created
	opaque       string   // the first opaque directory; empty for none
	opaqueAttr   string   // that the library makes directories opaque with
	lost         userns.Losses
}

// trustedOpaque is the attribute of opaque directories that root's podman reads.
const trustedOpaque = "trusted.overlay.opaque"

// noOpaque explains why root's podman does not see opaque directories.
const noOpaque = "only root of the host can set trusted.overlay.opaque; user.overlay.opaque, which a rootless podman reads, is set"

func newOwners(stream *layer.Stream, image *layer.Tally, disk string, ignoreOwners bool) *owners {
	o := &owners{
		ignoreOwners: ignoreOwners,
		stream:       stream, image: image, disk: disk, uids: map[uint32]struct{}{}, gids: map[uint32]struct{}{},
		opaqueAttr: archive.GetOverlayXattrName("opaque"),
		dirs:       map[string]struct{}{}, parents: map[string]struct{}{},
	}
	if unshare.IsRootless() {
		ids := userns.Mapped()
		o.ids, o.devices = &ids, newDevices(nil)
	}
	return o
}

func (o *owners) add(h *tar.Header, e *layer.Entry) error {
	if err := o.devices.check(); err != nil {
		return err
	}
	if e.Sparse {
		if err := o.checkSpace(e); err != nil {
			return err
		}
	}
	name := path.Clean("/" + h.Name)
	dir, base := path.Split(name)
	if name == "/" {
		mode := h.FileInfo().Mode()
		o.root = &mode
	} else if h.Typeflag == tar.TypeDir {
		o.dirs[name] = struct{}{}
	}
	if err := o.requireDir(dir); err != nil {
		return err
	}
	if base == archive.WhiteoutOpaqueDir && o.overlay {
		opaque := cmp.Or(strings.Trim(dir, "/"), "/")
		o.opaque = cmp.Or(o.opaque, opaque)
		if o.opaqueAttr != trustedOpaque {
			o.lost.Add(opaque, trustedOpaque, noOpaque)
		}
	}
	if gone, ok := whiteout(name); ok {
		o.whiteouts = append(o.whiteouts, gone)
		if o.devices != nil {
			o.devices.remove(gone)
		}
		return nil
	}
	o.uids[uint32(h.Uid)] = struct{}{}
	o.gids[uint32(h.Gid)] = struct{}{}
	if o.devices != nil {
		o.recordLosses(h, e)
	}
	mapped := o.ids == nil || o.ids.Has(h.Uid, h.Gid)
	switch {
	case !mapped && !o.ignoreOwners:
		return fmt.Errorf("%q: %w", e.Name, userns.OwnerError(h.Uid, h.Gid, unix.EINVAL))
	case o.ignoreOwners && o.overlay && (h.Uid != unix.Geteuid() || h.Gid != unix.Getegid()), !mapped:
		o.lost.Add(e.Name, fmt.Sprintf("%d:%d", h.Uid, h.Gid), userns.NoOwners)
	}
	return nil
}

// opaqueError explains an error of unpacking the layer into dest if the reason is that directories there cannot be opaque: a
// file system of a virtual machine may refuse the attribute.
func (o *owners) opaqueError(dest string, err error) error {
	if o.opaque == "" || !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	refused := unix.Setxattr(dest, o.opaqueAttr, []byte("y"), 0)
	if refused == nil {
		return err
	}
	return hint.Add(fmt.Errorf("%q: set %s: %w", o.opaque, o.opaqueAttr, refused), "use a tree on another file system, or the storage-driver vfs")
}

// recordLosses counts what the library silently drops from an entry if not run by root of the host.
func (o *owners) recordLosses(h *tar.Header, e *layer.Entry) {
	if o.devices.add(h, o.stream.Bytes()) {
		o.lost.Add(e.Name, "", userns.NoDevices)
	}
	for attr := range e.Xattrs {
		if why := userns.WhyNot(attr); why != "" {
			o.lost.Add(e.Name, attr, why)
		}
	}
}

// checkSpace checks that a sparse file, whose holes the library writes as zeros, fits on the disk. Otherwise a few bytes of
// archive could cause hours of useless work.
func (o *owners) checkSpace(e *layer.Entry) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(o.disk, &fs); err != nil {
		return fmt.Errorf("look for room in %s: %w", o.disk, err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); uint64(e.Size) > free {
		return fmt.Errorf("%q: %w: the file has %d bytes with its holes, and %d are free", e.Name, unix.ENOSPC, e.Size, free)
	}
	return nil
}

// requireDir records that the layer needs a directory and its parents. Those missing from the layer are created, so they count
// as entries.
func (o *owners) requireDir(dir string) error {
	if dir == o.last {
		return nil
	}
	o.last = dir
	for dir = path.Clean(dir); dir != "/"; dir = path.Dir(dir) {
		if _, ok := o.parents[dir]; ok {
			return nil
		}
		o.parents[dir] = struct{}{}
		if _, ok := o.dirs[dir]; ok {
			continue
		}
		if err := o.image.Entry(); err != nil {
			return err
		}
	}
	return nil
}

// withoutTime returns the names of what gets no time from the layer: whiteouts, the root, and directories that are needed but
// not in the layer.
func (o *owners) withoutTime() []string {
	names := append(slices.Clone(o.whiteouts), "/")
	for dir := range o.parents {
		if _, ok := o.dirs[dir]; !ok {
			names = append(names, dir)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (*owners) list(ids map[uint32]struct{}) []uint32 { return slices.Sorted(maps.Keys(ids)) }
