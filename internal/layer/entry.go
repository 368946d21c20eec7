package layer

import (
	"archive/tar"
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// Type is the type of an entry.
type Type byte

// Types of entries.
const (
	File Type = iota
	Dir
	Symlink
	Hardlink
	Char
	Block
	Fifo
)

// Entry is one entry of an archive. Its fields are as in the archive, and not validated.
type Entry struct {
	Index        int // in this archive, from 0
	Name         string
	Type         Type
	Link         string // target of a link
	Mode         uint32 // permissions with setuid, setgid, sticky
	UID, GID     int64
	ModTime      time.Time
	Major, Minor int64
	Size         int64 // of a file, in bytes, holes included
	Sparse       bool  // the file has holes
	Xattrs       map[string]string
}

// Clone copies the strings of the entry, which otherwise keep its headers in memory.
func (e *Entry) Clone() {
	e.Name, e.Link = strings.Clone(e.Name), strings.Clone(e.Link)
	if len(e.Xattrs) > 0 {
		all := make(map[string]string, len(e.Xattrs))
		for name, value := range e.Xattrs {
			all[strings.Clone(name)] = strings.Clone(value)
		}
		e.Xattrs = all
	}
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
	if tool, ok := writer(r.in.first); ok {
		r.gnu = tool == "PaxHeaders" || strings.HasPrefix(tool, "PaxHeaders.") && tool != "PaxHeaders.0"
	}
	return e, e.xattrs(h.PAXRecords, r.gnu)
}

// Fields of a tar header that archive/tar does not return.
const (
	tarBlock   = 512
	nameSize   = 100
	typeflagAt = 156
)

// writer returns the directory in the name of an extended header, which identifies the tool that wrote it:
// "PaxHeaders" or "PaxHeaders.PID" for GNU tar, "PaxHeaders.0" for Go's tools, "PaxHeader" for bsdtar. It is cut off if
// the entry's directory is long.
func writer(header []byte) (string, bool) {
	if len(header) != tarBlock || header[typeflagAt] != tar.TypeXHeader {
		return "", false
	}
	name, _, _ := strings.Cut(string(header[:nameSize]), "\x00")
	dir := path.Base(path.Dir(name))
	return dir, strings.HasPrefix(dir, "PaxHeader")
}

// Keys of extended attributes: those of GNU tar, Docker and Go, and the additional ones of bsdtar and package pack.
const (
	schily     = "SCHILY.xattr."
	libarchive = "LIBARCHIVE.xattr."
)

// gnuName decodes names as GNU tar encodes them, since a record's key ends at "=". Go's tools do not encode names.
var gnuName = strings.NewReplacer("%25", "%", "%3D", "=")

func (e *Entry) xattrs(records map[string]string, gnu bool) error {
	for _, key := range slices.Sorted(maps.Keys(records)) {
		value := records[key]
		name, ok := strings.CutPrefix(key, schily)
		coded, both := strings.CutPrefix(key, libarchive)
		switch {
		case ok && gnu:
			name = gnuName.Replace(name)
		case ok:
			if _, both := records[libarchive+name]; both && strings.Contains(name, "%") {
				continue // the same attribute in both forms; only the other form has an unambiguous name
			}
		case both:
			var err error
			if name, err = url.PathUnescape(coded); err != nil {
				return fmt.Errorf("attribute %q: its name is not encoded correctly", coded)
			}
			plain, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
			if err != nil {
				return fmt.Errorf("attribute %q: its value is not base64", name)
			}
			value = string(plain)
		default:
			continue
		}
		// Sorted, so that the plain form of an attribute wins over the encoded one.
		if e.Xattrs == nil {
			e.Xattrs = map[string]string{}
		}
		e.Xattrs[name] = value
	}
	return nil
}
