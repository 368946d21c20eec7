package storage

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/unshare"
	tarsplit "github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/layer"
)

// devices tracks the device nodes of a layer, which only root of the host can create. The library skips them, but then
// fails on hard links to them. It is therefore given an archive in which a device node, with a header of the same length,
// replaces each such link. The store's tar-split data describes the original archive.
type devices struct {
	below *devices            // of the layer below, whose copy this one is unpacked into; nil for none
	paths map[string]pathKind // paths not of the zero kind, or that replace such a path of a layer below
	edits []int64             // offsets of the headers to change
	any   bool                // the layer has a device node
	dir   string              // directory resolved last, with a trailing slash
	to    string              // result of resolving dir
	grown int64               // bytes that symbolic links added to names in paths, layers below included
}

// maxGrown bounds the memory for names made longer by symbolic links.
const maxGrown = 64 << 20

// pathKind tells whether a path is a device or symbolic link, as far as hard links depend on it.
type pathKind struct {
	device bool   // a device node or a hard link to one
	target string // of a symbolic link
}

func newDevices(below *devices) *devices {
	d := &devices{below: below, paths: map[string]pathKind{}}
	if below != nil {
		d.grown = below.grown
	}
	return d
}

func (d *devices) kind(name string) pathKind {
	for ; d != nil; d = d.below {
		if k, ok := d.paths[name]; ok {
			return k
		}
	}
	return pathKind{}
}

func (d *devices) set(name string, k pathKind) {
	path := d.resolve(name)
	if before := d.kind(path); k != before {
		if k.target != before.target {
			d.dir = ""
		}
		d.paths[path] = k
		d.grown += int64(max(0, len(path)-len(name)))
	}
}

// check returns an error if the paths take too much memory.
func (d *devices) check() error {
	if d != nil && d.grown > maxGrown {
		return &layer.LimitError{What: "bytes that symbolic links add to names", Limit: maxGrown}
	}
	return nil
}

// add records the layer's next entry, whose header ends at the offset. It reports whether the entry will not exist,
// because it is a device node or a hard link to one.
func (d *devices) add(h *tar.Header, end int64) bool {
	var k pathKind
	switch h.Typeflag {
	case tar.TypeChar, tar.TypeBlock:
		k.device = true
	case tar.TypeSymlink:
		k.target = strings.Clone(h.Linkname)
	case tar.TypeLink:
		if k = d.kind(d.resolve(h.Linkname)); k.device {
			d.edits, d.any = append(d.edits, end-tarBlock), true
		}
	}
	d.set(h.Name, k)
	return k.device
}

// remove records a whiteout.
func (d *devices) remove(name string) { d.set(name, pathKind{}) }

// restrict makes the library treat this process as that of an ordinary user if no device node can be made in dir or, if it
// does not exist, in the directory above: root of a container may have no right to, and the file system of a virtual machine
// has the rights of the user who runs that. It must be called before the library is.
func restrict(dir string) error {
	var before unix.Stat_t
	for err := unix.Stat(dir, &before); err != nil; err = unix.Stat(dir, &before) {
		if err != unix.ENOENT || dir == "/" {
			return nil // opening the store reports it
		}
		dir = filepath.Dir(dir)
	}
	probe := filepath.Join(dir, ".osbuild-device")
	_ = os.Remove(probe) // of a killed process
	err := unix.Mknod(probe, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
	if err == unix.EPERM {
		return os.Setenv(unshare.UsernsEnvName, "done")
	}
	if err != nil {
		return fmt.Errorf("make device %s: %w", probe, err)
	}
	return errors.Join(os.Remove(probe), unix.UtimesNano(dir, []unix.Timespec{before.Atim, before.Mtim}))
}

// devicesOf returns the devices of a layer and those below it: nil for no layer. Those of a layer that the store had before
// are read from what it keeps of the archive.
func (w *writer) devicesOf(id string) (*devices, error) {
	if d := w.devices[id]; d != nil || id == "" {
		return d, nil
	}
	l, err := w.store.Layer(id)
	if err != nil {
		return nil, err
	}
	below, err := w.devicesOf(l.Parent)
	if err != nil {
		return nil, err
	}
	d := newDevices(below)
	file, err := os.Open(w.tarSplitPath(id))
	if err == nil {
		err = d.read(file)
	} else if errors.Is(err, os.ErrNotExist) {
		err = nil // the layer was made of files, so nothing was left out of it
	}
	if err != nil {
		return nil, fmt.Errorf("read what the storage keeps of layer %s: %w", id, err)
	}
	w.devices[id] = d
	return d, nil
}

// read adds the entries of a layer that the store has, and closes r.
func (d *devices) read(r io.ReadCloser) error {
	tarSplit, err := newSplitReader(r)
	if err != nil {
		return err
	}
	defer tarSplit.Close()
	var raw []byte // from the content of the last file on
	for {
		e, err := tarSplit.entries.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if e.Type == tarsplit.SegmentType {
			raw = append(raw, e.Payload...)
			continue
		}
		h := &tar.Header{Name: e.GetName()} // a file, where headers are not complete: those of sparse files
		padding := len(raw) % tarBlock
		for headers := tar.NewReader(bytes.NewReader(raw[padding:])); ; {
			next, _ := headers.Next()
			if next == nil {
				break
			}
			if next.Typeflag != tar.TypeXGlobalHeader {
				h = next
				break
			}
		}
		if gone, ok := whiteout(path.Clean("/" + h.Name)); ok {
			d.remove(gone)
		} else {
			d.add(h, 0)
		}
		if err := d.check(); err != nil {
			return err
		}
		raw = raw[:0]
	}
}

// whiteout returns what the path of a whiteout removes. It reports whether it is one.
func whiteout(name string) (string, bool) {
	dir, base := path.Split(name)
	gone, ok := strings.CutPrefix(base, archive.WhiteoutPrefix)
	return dir + gone, ok
}

// resolve follows symbolic links in the directories of a name.
func (d *devices) resolve(name string) string {
	name = path.Clean("/" + name)
	dir, base := path.Split(name)
	if dir != d.dir {
		d.dir, d.to = dir, path.Dir(d.follow(name))
	}
	return path.Join(d.to, base)
}

func (d *devices) follow(name string) string {
	for i, left := 1, 40; i < len(name) && left > 0 && len(name) <= unix.PathMax; i++ { // the kernel's limit
		if name[i] != '/' {
			continue
		}
		if target := d.kind(name[:i]).target; target != "" {
			if !path.IsAbs(target) {
				target = path.Dir(name[:i]) + "/" + target
			}
			name = path.Join(target, name[i:])
			i, left = 0, left-1
		}
	}
	return name
}

// edit returns a function that edits the headers of the archive passed to it in pieces, and passes it on to to; without
// devices that is to itself. end must be called at the end of the archive.
func (d *devices) edit(to func(piece []byte) error) (pass func(piece []byte) error, end func() error) {
	if d == nil {
		return to, func() error { return nil }
	}
	var at int64                       // offset of the next piece
	block := make([]byte, 0, tarBlock) // start of an incomplete block
	forward := func(b []byte) error {
		at += int64(len(b))
		return to(b)
	}
	pass = func(piece []byte) error {
		for len(piece) > 0 {
			n := len(piece) / tarBlock * tarBlock
			if len(d.edits) > 0 {
				n = int(min(int64(n), d.edits[0]-at))
			}
			if len(block) == 0 && n > 0 {
				if err := forward(piece[:n]); err != nil {
					return err
				}
				piece = piece[n:]
				continue
			}
			n = min(len(piece), tarBlock-len(block))
			block, piece = append(block, piece[:n]...), piece[n:]
			if len(block) < tarBlock {
				break
			}
			if len(d.edits) > 0 && d.edits[0] == at {
				toDevice(block)
				d.edits = d.edits[1:]
			}
			if err := forward(block); err != nil {
				return err
			}
			block = block[:0]
		}
		return nil
	}
	end = func() error {
		if len(block) == 0 {
			return nil
		}
		return forward(block)
	}
	return pass, end
}

// toDevice turns the header of a hard link into that of a device node.
func toDevice(header []byte) {
	const sumAt, typeflagAt = 148, 156
	header[typeflagAt] = tar.TypeChar
	copy(header[sumAt:], "        ")
	sum := 0
	for _, b := range header {
		sum += int(b)
	}
	copy(header[sumAt:], fmt.Sprintf("%06o\x00", sum))
}
