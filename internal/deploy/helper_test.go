package deploy

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/progress"
	"osbuild-containers/test/layers"
	"osbuild-containers/test/userns"
)

var when = layers.Time

// item is an entry of a layer.
type item = layers.Entry

var (
	file      = layers.File
	directory = layers.Directory
	symlink   = layers.Symlink
	hardlink  = layers.Hardlink
	archive   = layers.Archive
)

// layerOf is a layer, compressed with gzip.
func layerOf(t testing.TB, items ...item) Layer {
	t.Helper()
	return zipped(t, archive(t, items...))
}

func zipped(t testing.TB, plain []byte) Layer {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return blob(b.Bytes(), plain)
}

// framed is a layer of zstd frames, each of at most n bytes of the archive.
func framed(t testing.TB, plain []byte, n int) Layer {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true))
	if err != nil {
		t.Fatal(err)
	}
	data := w.EncodeAll(nil, nil)
	for piece := range slices.Chunk(plain, n) {
		data = w.EncodeAll(piece, data)
	}
	return blob(data, plain)
}

// blob is a layer whose bytes are data, and plain when they are decompressed.
func blob(data, plain []byte) Layer {
	return Layer{
		Digest: digest.FromBytes(data),
		DiffID: digest.FromBytes(plain),
		Size:   int64(len(data)),
		Open:   func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
	}
}

// place is a tree, with files next to it that must not change.
type place struct {
	top, tree, outside string
}

func newPlace(t testing.TB) place {
	t.Helper()
	if os.Geteuid() != 0 && !userns.Second() {
		t.Skip("only root can give files to others")
	}
	top := t.TempDir()
	p := place{top, filepath.Join(top, "tree"), filepath.Join(top, "outside")}
	for _, d := range []string{p.tree, p.outside} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(p.outside, "canary"), []byte("sings"), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// deploy deploys, and checks that nothing outside of the tree has changed.
func (p place) deploy(t testing.TB, opt Options, layers ...Layer) (log string, err error) {
	t.Helper()
	before := p.surroundings(t)
	var b bytes.Buffer
	err = Deploy(context.Background(), p.tree, layers, opt, progress.NewLog(&b))
	if after := p.surroundings(t); after != before {
		t.Fatalf("outside of the tree there was\n%sand is\n%s", before, after)
	}
	return b.String(), err
}

func (p place) surroundings(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	walk(t, p.top, func(name string, st *unix.Stat_t) {
		if name != "tree" && !strings.HasPrefix(name, "tree/") && name != "." {
			fmt.Fprintln(&b, name, st.Ino, st.Mode, st.Uid, st.Nlink, st.Size, st.Mtim, st.Ctim)
		}
	})
	return b.String()
}

// walk visits all that is in a directory, in order.
func walk(t testing.TB, top string, visit func(name string, st *unix.Stat_t)) {
	t.Helper()
	err := filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		visit(name, &st)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// show is what is in the tree, one line each: "directory/", "file=content",
// "link->target", and for files with several names the first of them.
func (p place) show(t testing.TB) string {
	t.Helper()
	var lines []string
	names := map[uint64]string{}
	walk(t, p.tree, func(name string, st *unix.Stat_t) {
		path := filepath.Join(p.tree, name)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			if name == "." {
				return
			}
			name += "/"
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				t.Fatal(err)
			}
			name += "->" + target
		case unix.S_IFREG:
			body, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if first, ok := names[st.Ino]; ok {
				name += "==" + first
				break
			}
			names[st.Ino] = name
			name += "=" + string(body)
		default:
			name += fmt.Sprintf(" %o", st.Mode&unix.S_IFMT)
		}
		lines = append(lines, name)
	})
	return strings.Join(lines, " ")
}

// onDisk is how many blocks of 512 bytes a file takes.
func onDisk(t testing.TB, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks
}
