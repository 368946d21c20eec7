package transfer

import (
	"fmt"
	"hash/crc64"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containers/storage/pkg/archive"
	"github.com/vbatts/tar-split/archive/tar"
	"github.com/vbatts/tar-split/tar/storage"
)

// split notes what the store keeps of an archive to write it again, bit for bit: all but
// the contents of files, of which it keeps a checksum. It does what the library's
// asm.NewInputTarStream does, without a third reader for the owners.
func split(in io.Reader, notes storage.Packer, o *owners) error {
	r := tar.NewReader(in)
	r.RawAccounting = true
	segment := func(raw []byte) error {
		if len(raw) == 0 {
			return nil
		}
		_, err := notes.AddEntry(storage.Entry{Type: storage.SegmentType, Payload: raw})
		return err
	}
	sum := crc64.New(storage.CRCTable)
	buf := make([]byte, bufferSize)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = segment(r.RawBytes())
		}
		if err != nil {
			return err
		}
		o.add(h)
		e := storage.Entry{Type: storage.FileType, Size: h.Size}
		e.SetName(h.Name)
		if h.Size > 0 {
			sum.Reset()
			if _, err := io.CopyBuffer(sum, struct{ io.Reader }{r}, buf); err != nil {
				return err
			}
			e.Payload = sum.Sum(nil)
		}
		if _, err := notes.AddEntry(e); err != nil {
			return fmt.Errorf("%q: %w", h.Name, err) // there twice, as storages cannot have it
		}
		if err := segment(r.RawBytes()); err != nil {
			return err
		}
	}
	if err := segment(r.RawBytes()); err != nil {
		return err
	}
	for { // what follows the archive
		n, err := io.ReadFull(in, buf)
		if e := segment(buf[:n]); e != nil {
			return e
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// owners are the owners of a layer's files, and what else only a reader of all headers
// knows.
type owners struct {
	uids, gids map[uint32]struct{}
	root       *os.FileMode // of the layer's root, where it has one

	dirs, parents map[string]struct{} // that the layer has, and that it needs
	whiteouts     []string            // what they are about
}

func newOwners() *owners {
	return &owners{uids: map[uint32]struct{}{}, gids: map[uint32]struct{}{}, dirs: map[string]struct{}{}, parents: map[string]struct{}{}}
}

func (o *owners) add(h *tar.Header) {
	name := path.Clean("/" + h.Name)
	dir, base := path.Split(name)
	if name == "/" {
		mode := h.FileInfo().Mode()
		o.root = &mode
	} else if h.Typeflag == tar.TypeDir {
		o.dirs[name] = struct{}{}
	}
	o.parents[path.Clean(dir)] = struct{}{}
	if gone, ok := strings.CutPrefix(base, archive.WhiteoutPrefix); ok {
		o.whiteouts = append(o.whiteouts, dir+gone)
		return
	}
	o.uids[uint32(h.Uid)] = struct{}{}
	o.gids[uint32(h.Gid)] = struct{}{}
}

// timeless are the names of what does not get its time from the layer: whiteouts, the
// root, and folders that the layer needs and does not have.
func (o *owners) timeless() []string {
	names := append(slices.Clone(o.whiteouts), "/")
	for dir := range o.parents {
		for ; dir != "/"; dir = path.Dir(dir) {
			if _, ok := o.dirs[dir]; !ok {
				names = append(names, dir)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (*owners) list(ids map[uint32]struct{}) []uint32 { return slices.Sorted(maps.Keys(ids)) }
