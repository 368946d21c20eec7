package storage

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containers/storage/pkg/archive"
	"github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/ctxio"
	"osbuild-containers/internal/layer"
	"osbuild-containers/internal/userns"
)

// split writes tar-split data, from which the store can write an archive again, bit for bit: everything but
// the contents of files, and a checksum of these. It does what the library's
// asm.NewInputTarStream does, while it reads the entries for those that check and unpack
// them.
func split(ctx context.Context, in *layer.Reader, raw *bytes.Buffer, notes storage.Packer, o *owners) error {
	segment := func() error {
		if raw.Len() == 0 {
			return nil
		}
		_, err := notes.AddEntry(storage.Entry{Type: storage.SegmentType, Payload: raw.Bytes()})
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
		if entry.Sparse { // what unpacks it need not wait until its holes are read
			if err := in.Flush(); err != nil {
				return err
			}
		}
		e := storage.Entry{Type: storage.FileType, Size: entry.Size} // not h.Size: links may have one, and no content
		e.SetName(h.Name)
		if e.Size > 0 {
			sum = 0
			if _, err := io.CopyBuffer(&sum, ctxio.Reader(ctx, in), buf); err != nil {
				return err
			}
			e.Payload = binary.BigEndian.AppendUint64(nil, uint64(sum))
		}
		if _, err := notes.AddEntry(e); err != nil {
			return fmt.Errorf("%q: %w", h.Name, err) // there twice, as storages cannot have it
		}
	}
}

// owners are the owners of a layer's files, and what else only a reader of all headers
// knows.
type owners struct {
	stream     *layer.Stream
	image      *layer.Tally
	disk       string // a directory on the store's disk
	uids, gids map[uint32]struct{}
	root       *os.FileMode // of the layer's root, where it has one

	dirs, parents map[string]struct{} // that the layer has, and that it needs
	last          string              // of the parents, the last one
	whiteouts     []string            // what they are about

	ids          *userns.IDs // that the owners must be among; nil for all
	overlay      bool        // the store is one of overlay
	ignoreOwners bool
	devices      *devices // nil if they can be made
	lost         userns.Losses
}

// noOpaque is why root's podman does not see that a directory is opaque.
const noOpaque = "only root of the host can set trusted.overlay.opaque; user.overlay.opaque, which a rootless podman reads, is set"

func newOwners(stream *layer.Stream, image *layer.Tally, disk string, ignoreOwners bool) *owners {
	o := &owners{
		ignoreOwners: ignoreOwners,
		stream:       stream, image: image, disk: disk, uids: map[uint32]struct{}{}, gids: map[uint32]struct{}{},
		dirs: map[string]struct{}{}, parents: map[string]struct{}{},
	}
	if userns.Restricted() {
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
		if err := o.room(e); err != nil {
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
	if err := o.need(dir); err != nil {
		return err
	}
	if base == archive.WhiteoutOpaqueDir && o.devices != nil && o.overlay {
		o.lost.Add(cmp.Or(strings.Trim(dir, "/"), "/"), "trusted.overlay.opaque", noOpaque)
	}
	if gone, ok := strings.CutPrefix(base, archive.WhiteoutPrefix); ok {
		o.whiteouts = append(o.whiteouts, dir+gone)
		if o.devices != nil {
			o.devices.remove(dir + gone)
		}
		return nil
	}
	o.uids[uint32(h.Uid)] = struct{}{}
	o.gids[uint32(h.Gid)] = struct{}{}
	if o.devices != nil {
		o.lose(e)
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

// lose counts what the library silently leaves out of an entry where it is not run by root of the host.
func (o *owners) lose(e *layer.Entry) {
	if o.devices.add(e, o.stream.Bytes()) {
		o.lost.Add(e.Name, "", userns.NoDevices)
	}
	for attr := range e.Xattrs {
		if why := userns.WhyNot(attr); why != "" {
			o.lost.Add(e.Name, attr, why)
		}
	}
}

// room checks that a file with holes, which the library writes as zeros, fits on the disk.
// Without that, a few bytes of archive could cause hours of useless work.
func (o *owners) room(e *layer.Entry) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(o.disk, &fs); err != nil {
		return fmt.Errorf("look for room in %s: %w", o.disk, err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); uint64(e.Size) > free {
		return fmt.Errorf("%q: %w: the file has %d bytes with its holes, and %d are free", e.Name, unix.ENOSPC, e.Size, free)
	}
	return nil
}

// need notes that the layer needs a directory and those above it. They are made where the
// layer does not have them, so they count as entries.
func (o *owners) need(dir string) error {
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

// timeless are the names of what does not get its time from the layer: whiteouts, the
// root, and directories that the layer needs and does not have.
func (o *owners) timeless() []string {
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
