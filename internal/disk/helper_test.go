package disk

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/deploy"
	"osbuild-containers/internal/ext4"
	"osbuild-containers/internal/progress"
	"osbuild-containers/test/layers"
)

var epoch = layers.Time

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// item is an entry of a layer.
type item = layers.Entry

var (
	file      = layers.File
	directory = layers.Directory
	symlink   = layers.Symlink
	hardlink  = layers.Hardlink
)

func owner(uid, gid int) func(*tar.Header) { return func(h *tar.Header) { h.Uid, h.Gid = uid, gid } }

func xattr(name, value string) func(*tar.Header) {
	return func(h *tar.Header) {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+name] = value
	}
}

func layerOf(t testing.TB, items ...item) deploy.Layer {
	t.Helper()
	return layerOfBytes(layers.Archive(t, items...))
}

func layerOfBytes(archive []byte) deploy.Layer {
	d := digest.FromBytes(archive)
	return deploy.Layer{
		Digest: d, DiffID: d, Size: int64(len(archive)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil },
	}
}

// quiet returns a log that discards everything.
func quiet() *progress.Reporter { return progress.NewLog(io.Discard) }

// newFS makes a file system in memory.
func newFS(t testing.TB, size int64) *ext4.FS {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "fs")
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	must(t, f.Truncate(size))
	fs, err := ext4.New(f, ext4.Options{Size: size, Inodes: 5000, Time: epoch})
	must(t, err)
	return fs
}

// node describes a name in a tree.
type node struct {
	kind, mode, uid, gid, major, minor uint32
	mtime                              int64
	size                               int64
	target, xattrs, content, same      string // same: the first of its names
}

func attrs(all map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s=%x ", name, all[name])
	}
	return b.String()
}

// show describes a file system being written, one line for each name.
func show(t testing.TB, fs *ext4.FS) string {
	t.Helper()
	var b strings.Builder
	first := map[uint32]string{}
	must(t, fs.Walk(func(name string, i ext4.Info) error {
		if name == lostFound {
			return nil
		}
		n := node{
			kind: i.Type, mode: i.Mode, uid: uint32(i.UID), gid: uint32(i.GID), major: i.Major, minor: i.Minor,
			mtime: i.ModTime.UnixNano(), target: i.Target, xattrs: attrs(i.Xattrs),
		}
		if i.Type != unix.S_IFDIR {
			if first[i.Inode] == "" {
				first[i.Inode] = name
			}
			n.same, n.size = first[i.Inode], i.Size
		}
		if i.Type == unix.S_IFREG {
			r, err := fs.Open(name)
			must(t, err)
			n.content = sumOf(t, r)
		}
		fmt.Fprintf(&b, "%q %+v\n", name, n)
		return nil
	}))
	return b.String()
}

func sumOf(t testing.TB, r io.Reader) string {
	t.Helper()
	h := sha256.New()
	_, err := io.Copy(h, r)
	must(t, err)
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

// showDir describes a directory in the same way.
func showDir(t testing.TB, top string) string {
	t.Helper()
	var b strings.Builder
	first := map[uint64]string{}
	var visit func(name string)
	visit = func(name string) {
		path := filepath.Join(top, name)
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		n := node{
			kind: st.Mode & unix.S_IFMT, mode: st.Mode & 0o7777, uid: st.Uid, gid: st.Gid,
			major: unix.Major(st.Rdev), minor: unix.Minor(st.Rdev), mtime: st.Mtim.Nano(), xattrs: attrs(xattrsOf(t, path)),
		}
		if n.kind != unix.S_IFDIR {
			if first[st.Ino] == "" {
				first[st.Ino] = name
			}
			n.same, n.size = first[st.Ino], st.Size
		}
		switch n.kind {
		case unix.S_IFREG:
			f, err := os.Open(path)
			must(t, err)
			n.content = sumOf(t, f)
			_ = f.Close()
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			must(t, err)
			n.target = target
		}
		fmt.Fprintf(&b, "%q %+v\n", name, n)
		if n.kind == unix.S_IFDIR {
			entries, err := os.ReadDir(path)
			must(t, err)
			for _, e := range entries {
				if name = filepath.Join(strings.TrimPrefix(strings.TrimPrefix(path, top), "/"), e.Name()); name != lostFound {
					visit(name)
				}
			}
		}
	}
	visit(".")
	return b.String()
}

func xattrsOf(t testing.TB, path string) map[string]string {
	t.Helper()
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, names)
	must(t, err)
	all := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if name == "" || name == "security.selinux" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		must(t, err)
		all[name] = string(value[:n])
	}
	return all
}

// differ returns the lines in which two descriptions differ.
func differ(got, want string) string {
	var b strings.Builder
	in := func(all string) map[string]bool {
		lines := map[string]bool{}
		for l := range strings.Lines(all) {
			lines[l] = true
		}
		return lines
	}
	for l := range in(got) {
		if !in(want)[l] {
			b.WriteString("got  " + l)
		}
	}
	for l := range in(want) {
		if !in(got)[l] {
			b.WriteString("want " + l)
		}
	}
	return b.String()
}

// do runs a program that must succeed. It skips the test if the program is not installed.
func do(t testing.TB, name string, args ...string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
			if err != nil {
				t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
			}
			return string(out)
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}
