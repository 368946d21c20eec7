package layer

import (
	"archive/tar"
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Type is what an entry is.
type Type byte

// The types of entries.
const (
	File Type = iota
	Dir
	Symlink
	Hardlink
	Char
	Block
	Fifo
)

// Entry is what the archive says about one path. Nothing of it was judged.
type Entry struct {
	Index        int // counted from 0, in this archive
	Name         string
	Type         Type
	Link         string // the target of links
	Mode         uint32 // permissions with setuid, setgid, sticky
	UID, GID     int64
	ModTime      time.Time
	Major, Minor int64
	Size         int64 // of a file, holes included
	Sparse       bool  // the file has holes: blocks of zeros are no data
	Xattrs       map[string]string
}

func (r *Reader) entry(h *tar.Header) (*Entry, error) {
	e := &Entry{
		Index: r.count,
		Name:  h.Name,
		Link:  h.Linkname,
		Mode:  uint32(h.Mode) & 0o7777,
		UID:   int64(h.Uid),
		GID:   int64(h.Gid),
		Major: h.Devmajor, Minor: h.Devminor,
		ModTime: h.ModTime,
	}
	r.count++
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		e.Type, e.Size = File, h.Size
		e.Sparse = h.Typeflag == tar.TypeGNUSparse || h.PAXRecords["GNU.sparse.major"] != "" || h.PAXRecords["GNU.sparse.map"] != "" || h.PAXRecords["GNU.sparse.numblocks"] != ""
	case tar.TypeDir:
		e.Type = Dir
	case tar.TypeSymlink:
		e.Type = Symlink
	case tar.TypeLink:
		e.Type = Hardlink
	case tar.TypeChar:
		e.Type = Char
	case tar.TypeBlock:
		e.Type = Block
	case tar.TypeFifo:
		e.Type = Fifo
	default:
		return nil, fmt.Errorf("entry of type %q, which a layer cannot have", h.Typeflag)
	}
	return e, e.xattrs(h.PAXRecords)
}

// The keys of extended attributes: as GNU tar, Docker and Go write them, and as bsdtar
// does beside that.
const (
	schily     = "SCHILY.xattr."
	libarchive = "LIBARCHIVE.xattr."
)

// attrName undoes what GNU tar, and package pack with it, does to a name: a record's key ends at "=".
var attrName = strings.NewReplacer("%25", "%", "%3D", "=")

func (e *Entry) xattrs(records map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(records)) {
		value := records[key]
		name, ok := strings.CutPrefix(key, schily)
		name = attrName.Replace(name)
		if !ok {
			coded, ok := strings.CutPrefix(key, libarchive)
			if !ok {
				continue
			}
			var err error
			if name, err = url.PathUnescape(coded); err != nil {
				return fmt.Errorf("attribute %q: its name is not encoded right", coded)
			}
			plain, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
			if err != nil {
				return fmt.Errorf("attribute %q: its value is not base64", name)
			}
			value = string(plain)
		}
		// Sorted, so that of an attribute that is there in both ways the plain one counts.
		if e.Xattrs == nil {
			e.Xattrs = map[string]string{}
		}
		e.Xattrs[name] = value
	}
	return nil
}
