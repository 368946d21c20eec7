package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// Compression of a layer.
type Compression string

// Compressions, by the end of the media type.
const (
	Plain Compression = ""
	Gzip  Compression = "gzip"
	Zstd  Compression = "zstd"
)

// epoch is the time of everything that is made here.
var epoch = time.Unix(1700000000, 0).UTC()

// File is one entry of a layer.
type File struct {
	Name string // a directory when it ends in "/"
	Data []byte
	Mode int64  // 0: 0644, directories 0755
	Link string // makes it a symbolic link

	UID, GID int
}

// LayerInfo is a layer as a registry stores it.
type LayerInfo struct {
	Digest    digest.Digest // of Blob
	DiffID    digest.Digest // of the tar archive in it
	Size      int64         // of Blob
	MediaType string        // "": as the image's family has it
	Blob      []byte
	URLs      []string // foreign: not in the registry

	compression Compression
}

func (s source) make(seed uint64, place int) LayerInfo {
	if s.made != nil {
		return *s.made
	}
	var archive bytes.Buffer
	if s.files != nil {
		writeTar(&archive, s.files)
	} else {
		archive.Grow(int(s.size) + 4096)
		writeTar(&archive, []File{{Name: fmt.Sprintf("data-%d", place), Data: noise(seed, place, s.size)}})
	}
	blob := compress(s.how, archive.Bytes())
	l := LayerInfo{
		Digest:      digest.FromBytes(blob),
		DiffID:      digest.FromBytes(archive.Bytes()),
		Size:        int64(len(blob)),
		Blob:        blob,
		compression: s.how,
	}
	if s.foreign != "" {
		l.URLs = []string{s.foreign}
	}
	return l
}

// noise is content that does not compress.
func noise(seed uint64, place int, size int64) []byte {
	var key [32]byte
	copy(key[:], fmt.Sprintf("%d %d %d", seed, place, size))
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(data) // never fails
	return data
}

func writeTar(w io.Writer, files []File) {
	t := tar.NewWriter(w)
	for _, f := range files {
		h := &tar.Header{Name: f.Name, Mode: f.Mode, Size: int64(len(f.Data)), Uid: f.UID, Gid: f.GID, ModTime: epoch, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		switch {
		case f.Link != "":
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Link, 0o777
		case f.Name[len(f.Name)-1] == '/':
			h.Typeflag = tar.TypeDir
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		must(t.WriteHeader(h))
		_, err := t.Write(f.Data)
		must(err)
	}
	must(t.Close())
}

// gzipWriters are large and slow to make, compared with a small layer.
var gzipWriters = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	must(err)
	return w
}}

func compress(how Compression, data []byte) []byte {
	var out bytes.Buffer
	switch how {
	case Plain:
		return data
	case Zstd:
		w, err := zstd.NewWriter(&out, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
		must(err)
		_, err = w.Write(data)
		must(err)
		must(w.Close())
	case Gzip:
		w := gzipWriters.Get().(*gzip.Writer)
		defer gzipWriters.Put(w)
		w.Reset(&out)
		_, err := w.Write(data)
		must(err)
		must(w.Close())
	}
	return out.Bytes()
}

// must is for what cannot fail: writing to memory, encoding plain data.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
