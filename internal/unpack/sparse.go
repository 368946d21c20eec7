package unpack

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path"
	"strconv"

	"osbuild-containers/internal/deploy"
	"osbuild-containers/internal/scratch"
)

// sparseBlock is the granularity of holes in bytes, as in a directory.
const sparseBlock = 4096

// sparseFile is a file with holes. Its data is kept in a temporary file until its map, which precedes the data in the
// archive, is complete.
//
// It is written in GNU tar's sparse format PAX 1.0: records with the name and the size and, as the content, the map (one
// decimal number per line, padded to a block of 512 bytes) and the data without holes.
type sparseFile struct {
	t    *tarWriter
	name string
	file *tarFile
	temp *scratch.File
	size int64 // bytes written so far
	data int64 // bytes in temp
	runs []run
}

// run is a range of data between holes.
type run struct{ at, size int64 }

func newSparse(t *tarWriter, name string, f *tarFile) (*sparseFile, error) {
	temp, err := scratch.NewFile()
	if err != nil {
		return nil, fmt.Errorf("create %q: %w", name, err)
	}
	return &sparseFile{t: t, name: name, file: f, temp: temp}, nil
}

func (f *sparseFile) Write(p []byte) (int, error) {
	done := len(p)
	for len(p) > 0 {
		n := min(len(p), int(sparseBlock-f.size%sparseBlock))
		if err := f.block(p[:n]); err != nil {
			return done - len(p), fmt.Errorf("write %q: %w", f.name, err)
		}
		p = p[n:]
	}
	return done, nil
}

// block adds a block, or a part of one.
func (f *sparseFile) block(p []byte) error {
	at := f.size
	f.size += int64(len(p))
	if len(bytes.Trim(p, "\x00")) == 0 {
		return nil
	}
	if n := len(f.runs); n > 0 && f.runs[n-1].at+f.runs[n-1].size == at {
		f.runs[n-1].size += int64(len(p))
	} else {
		f.runs = append(f.runs, run{at, int64(len(p))})
	}
	f.data += int64(len(p))
	_, err := f.temp.Write(p)
	return err
}

func (f *sparseFile) Close() error {
	defer f.temp.Close()
	t := f.t
	if err := t.flush(); err != nil {
		return err
	}
	h := f.file.header
	h.Name, h.Size = f.name, f.data
	var text []byte
	if f.data < f.size {
		text = f.table()
		dir, base := path.Split(f.name)
		h.Name = dir + "GNUSparseFile.0/" + base
		h.Size += int64(len(text))
		h.PAXRecords = map[string]string{
			numbers + "major":    "1",
			numbers + "minor":    "0",
			numbers + "realsize": strconv.FormatInt(f.size, 10),
			names + "name":       f.name,
		}
	}
	t.note(f.name, t.fingerprint(&f.file.meta))
	err := t.writeSparse(&h, &f.file.meta)
	if err == nil {
		_, err = t.out.Write(text)
	}
	if err == nil {
		_, err = f.temp.Seek(0, io.SeekStart)
	}
	if err == nil {
		_, err = io.Copy(t.out, f.temp.File)
	}
	if err == nil {
		_, err = t.out.Write(make([]byte, -h.Size&511))
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", f.name, err)
	}
	return nil
}

// archive/tar does not write the records of sparse files. They are first written under other names of the same length,
// which sort before all others, so that they can be found reliably, whatever other records contain.
const (
	numbers = "\x01\x01\x01.sparse."
	names   = "\x01\x01\x02.sparse."
	gnu     = "GNU.sparse."
)

// writeSparse writes the header of a sparse file.
func (t *tarWriter) writeSparse(h *tar.Header, m *deploy.Meta) error {
	var buf bytes.Buffer
	other := tarWriter{tw: tar.NewWriter(&buf)}
	if err := other.write(h, m); err != nil {
		return err
	}
	if err := t.tw.Flush(); err != nil {
		return err
	}
	// Layout: a block, the records, and the header of the file itself.
	b := buf.Bytes()
	if len(b) > 2*512 {
		in := b[512 : len(b)-512]
		for _, key := range []string{numbers, numbers, numbers, names} {
			if at := bytes.Index(in, []byte(key)); at >= 0 {
				copy(in[at:], gnu)
			}
		}
	}
	_, err := t.out.Write(b)
	return err
}

// table returns the map of the file.
func (f *sparseFile) table() []byte {
	runs := f.runs
	if n := len(runs); n == 0 || runs[n-1].at+runs[n-1].size < f.size {
		runs = append(runs, run{f.size, 0})
	}
	b := fmt.Appendf(nil, "%d\n", len(runs))
	for _, r := range runs {
		b = fmt.Appendf(b, "%d\n%d\n", r.at, r.size)
	}
	return append(b, make([]byte, -len(b)&511)...)
}

func (f *sparseFile) Abort() { _ = f.temp.Close() }
