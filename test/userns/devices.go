package userns

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// DeviceCase is an image with device nodes and hard links to them, which are left out unless run by root of the host.
type DeviceCase struct {
	Layers [][]*tar.Header // lowest first
	Links  string          // what remains of the image, as returned by Links
	Count  int             // number of entries left out
	Hidden int             // number of those replaced by layers above
	First  string          // first name left out

	// Across is set if a hard link refers to a file of a layer below, which overlay storages do not support.
	Across bool
	// Replaces is set if a device node or a hard link to one replaces a file of a layer below.
	Replaces bool
}

// Devices returns the cases by name.
func Devices() map[string]DeviceCase {
	entry := func(kind byte, name, target string) *tar.Header {
		return &tar.Header{Typeflag: kind, Name: name, Linkname: target, Mode: 0o644, Devmajor: 5, Devminor: 1}
	}
	char := func(name string) *tar.Header { return entry(tar.TypeChar, name, "") }
	link := func(name, target string) *tar.Header { return entry(tar.TypeLink, name, target) }
	symlink := func(name, target string) *tar.Header { return entry(tar.TypeSymlink, name, target) }
	file := func(name string) *tar.Header { return entry(tar.TypeReg, name, "") }
	long := strings.Repeat("long/", 30)
	gnu := link(long+"gnu", long+"pax")
	gnu.Format = tar.FormatGNU
	layers := func(all ...[]*tar.Header) [][]*tar.Header { return all }
	return map[string]DeviceCase{
		"one link": {
			Layers: layers([]*tar.Header{char("dev/console"), file("f"), link("dev/tty", "dev/console"), link("g", "f")}),
			Links:  "f g=f", Count: 2, First: "dev/console",
		},
		"links to links": {
			Layers: layers([]*tar.Header{char("a"), link("b", "a"), link("c", "b"), link("d", "c"), file("f")}),
			Links:  "f", Count: 4, First: "a",
		},
		"block device and FIFO": {
			Layers: layers([]*tar.Header{entry(tar.TypeBlock, "b", ""), entry(tar.TypeFifo, "p", ""), link("c", "b"), link("q", "p")}),
			Links:  "p q=p", Count: 2, First: "b",
		},
		"names": {
			Layers: layers([]*tar.Header{char("./dev/x"), link("dev//y", "dev/./x"), link("/dev/z", "/dev/x"), link("z", "dev/../dev//y"), file("x")}),
			Links:  "x", Count: 4, First: "./dev/x",
		},
		"long names": {
			Layers: layers([]*tar.Header{char(long + "x"), link(long+"pax", long+"x"), gnu, file(long + "f"), link("g", long+"f")}),
			Links:  "g " + long + "f=g", Count: 3, First: long + "x",
		},
		"symbolic links": {
			Layers: layers([]*tar.Header{
				file("dev/f"), char("dev/x"), symlink("d", "dev"), symlink("e", "/d"), link("a", "d/x"), link("e/b", "e/x"), link("c", "dev/b"),
				symlink("s", "dev/x"), link("t", "s"), link("g", "e/f"),
			}),
			Links: "d dev/f e g=dev/f s t=s", Count: 4, First: "dev/x",
		},
		"replaced by a file": {
			Layers: layers([]*tar.Header{char("a"), link("b", "a")}, []*tar.Header{file("a"), link("c", "a")}),
			Links:  "a c=a", Count: 2, Hidden: 1, First: "a",
		},
		"in the place of files": {
			Layers: layers([]*tar.Header{file("a"), file("b"), file("c")}, []*tar.Header{char("a"), link("b", "a")}),
			Links:  "c", Count: 2, First: "a", Replaces: true,
		},
		"below": {
			Layers: layers([]*tar.Header{char("a"), char("b"), file("f")}, []*tar.Header{link("c", "a"), file("b")}, []*tar.Header{link("d", "c"), link("e", "b"), link("g", "f")}),
			Links:  "b e=b f g=f", Count: 4, Hidden: 1, First: "a", Across: true,
		},
	}
}

// Archive returns an archive of the headers.
func Archive(t testing.TB, headers []*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Links returns the names of what is not a directory, a hard link with the first name of its file: "f g=f".
func Links(t testing.TB, dirs ...string) string {
	t.Helper()
	var all []string
	first := map[uint64]string{}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := os.Lstat(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(dir, path)
			if before, ok := first[info.Sys().(*syscall.Stat_t).Ino]; ok {
				name = fmt.Sprintf("%s=%s", name, before)
			} else {
				first[info.Sys().(*syscall.Stat_t).Ino] = name
			}
			all = append(all, name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return strings.Join(all, " ")
}
