// Package layers makes layers of tar entries for tests that care about single entries. Package images makes whole images.
package layers

import (
	"archive/tar"
	"bytes"
	"io"
	"maps"
	"strings"
	"testing"
	"time"
)

// Time is the modification time of all entries.
var Time = time.Unix(1700000000, 0)

// An Entry is an entry of a layer.
type Entry struct {
	tar.Header
	Body string
}

// File returns a regular file with the concatenated content.
func File(name string, content ...string) Entry {
	body := strings.Join(content, "")
	return Entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(body)), ModTime: Time}, body}
}

// Directory returns a directory.
func Directory(name string) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: Time}}
}

// Symlink returns a symbolic link.
func Symlink(name, target string) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: Time}}
}

// Hardlink returns a hard link.
func Hardlink(name, target string) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644, ModTime: Time}}
}

// With returns the entry with a changed header.
func (e Entry) With(change func(h *tar.Header)) Entry {
	e.PAXRecords = maps.Clone(e.PAXRecords)
	change(&e.Header)
	return e
}

// Archive returns an uncompressed tar archive.
func Archive(t testing.TB, entries ...Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.Body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Zstd returns data as one frame of zstd, not compressed, that requires a window of 1<<log bytes.
func Zstd(data []byte, log int) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, byte(log-10) << 3}
	for {
		n := min(len(data), 128<<10)
		v := n << 3
		if n == len(data) {
			v |= 1
		}
		b = append(append(b, byte(v), byte(v>>8), byte(v>>16)), data[:n]...)
		if data = data[n:]; len(data) == 0 {
			return b
		}
	}
}
