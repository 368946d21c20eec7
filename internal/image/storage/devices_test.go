package storage

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	tsstorage "github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/layer"
)

// TestDeviceLinksAreEdited passes an archive in pieces of various lengths: only hard links to devices change, and they become
// devices at the same offsets.
func TestDeviceLinksAreEdited(t *testing.T) {
	char := tar.Header{Name: "d", Typeflag: tar.TypeChar}
	file := tar.Header{Name: "f", Typeflag: tar.TypeReg, Size: 700}
	link := tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: "d"}
	other := tar.Header{Name: "o", Typeflag: tar.TypeLink, Linkname: "f"}
	long := tar.Header{Name: strings.Repeat("p/", 99), Typeflag: tar.TypeLink, Linkname: "l"}
	last := tar.Header{Name: "z", Typeflag: tar.TypeLink, Linkname: "d"}
	archive := packed(t, "\x00\x00\x00", char, file, link, other, long, last)
	for _, size := range []int{1, 100, 511, 512, 513, 1000, len(archive)} {
		s := stream(t, archive, layer.Limits{})
		o := newOwners(s, layer.NewTally(layer.Limits{}), t.TempDir(), false)
		o.devices = newDevices(nil)
		var raw, passed bytes.Buffer
		edit, end := o.devices.edit(func(piece []byte) error { passed.Write(piece); return nil })
		in := s.Pass(func(piece []byte) error {
			for part := range slices.Chunk(slices.Clone(piece), size) {
				if err := edit(part); err != nil {
					return err
				}
			}
			return nil
		}, &raw)
		if err := split(t.Context(), in, &raw, tsstorage.NewJSONPacker(io.Discard), o); err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		var kinds []byte
		r := tar.NewReader(bytes.NewReader(passed.Bytes()))
		for h, err := r.Next(); err != io.EOF; h, err = r.Next() {
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, h.Typeflag)
		}
		if string(kinds) != "303133" {
			t.Errorf("pieces of %d bytes: entries of the kinds %s", size, kinds)
		}
		changed := 0
		for n, b := range passed.Bytes() {
			if b != archive[n] {
				changed++
				if at := n % tarBlock; at < 148 || at > 156 {
					t.Errorf("pieces of %d bytes: byte %d is %q, want %q", size, n, b, archive[n])
				}
			}
		}
		if passed.Len() != len(archive) || changed == 0 {
			t.Errorf("pieces of %d bytes: %d bytes passed on, want %d, and %d changed", size, passed.Len(), len(archive), changed)
		}
	}
}

// TestSymbolicLinksAreFollowed resolves names like the kernel, endless loops included.
func TestSymbolicLinksAreFollowed(t *testing.T) {
	below := newDevices(nil)
	for name, target := range map[string]string{"lib": "usr/lib", "usr/up": "..", "loop": "loop/x", "abs": "/lib/", "gone": "lib"} {
		below.set(name, pathKind{target: target})
	}
	d := newDevices(below)
	d.remove("gone")
	for name, want := range map[string]string{
		"": "/", "lib": "/lib", "./lib/": "/lib", "lib/a": "/usr/lib/a", "abs/a": "/usr/lib/a", "usr/up/lib/b": "/usr/lib/b", "gone/a": "/gone/a", "a/../lib/c": "/usr/lib/c",
		"loop/a": "/loop" + strings.Repeat("/x", 40) + "/a",
	} {
		if got := d.resolve(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
	d.set("self", pathKind{target: "/"})
	d.set("self/self", pathKind{target: "elsewhere"}) // replaces a link in its own name
	if got := d.resolve("self/a"); got != "/elsewhere/a" {
		t.Errorf("after a change it is %q", got)
	}
}

// TestDevicesOfStoredLayers reads them from what the library keeps of an archive, and from what we keep of it.
func TestDevicesOfStoredLayers(t *testing.T) {
	char := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeChar} }
	open := packed(t, "", tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}, char("./d"),
		tar.Header{Name: "f", Typeflag: tar.TypeReg, Size: 700}, tar.Header{Name: "s", Typeflag: tar.TypeSymlink, Linkname: "."})
	archive := open[:len(open)-2*tarBlock]
	archive = append(archive, sparse10(t, "holes", 9000, map[int64]string{5000: "x"})...)
	archive = append(archive, packed(t, "", tar.Header{Name: strings.Repeat("p/", 99) + "l", Typeflag: tar.TypeLink, Linkname: "s/d"}, tar.Header{Name: ".wh.below", Typeflag: tar.TypeReg})...)

	_, library := stored(t, archive)
	var ours bytes.Buffer
	zip := newZip(&ours)
	if _, err := splitAll(t, archive, tsstorage.NewJSONPacker(zip), layer.Limits{}); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	for of, tarSplit := range map[string][]byte{"library": library, "ours": ours.Bytes()} {
		below := newDevices(nil)
		for _, name := range []string{"below", "holes", "other"} {
			below.set(name, pathKind{device: true})
		}
		d := newDevices(below)
		if err := d.read(io.NopCloser(bytes.NewReader(tarSplit))); err != nil {
			t.Fatalf("%s: %v", of, err)
		}
		for name, want := range map[string]bool{"d": true, "s/d": true, strings.Repeat("p/", 99) + "l": true, "f": false, "holes": false, "below": false, "other": true} {
			if got := d.kind(d.resolve(name)).device; got != want {
				t.Errorf("%s: %q is a device: %v, want %v", of, name, got, want)
			}
		}
		if err := newDevices(nil).read(io.NopCloser(bytes.NewReader(tarSplit[:len(tarSplit)/2]))); err == nil {
			t.Errorf("%s: half of it is no error", of)
		}
	}
}

// TestGrownNamesAreBounded has short names in a directory with a long name behind a symbolic link.
func TestGrownNamesAreBounded(t *testing.T) {
	s := stream(t, packed(t, ""), layer.Limits{})
	o := newOwners(s, layer.NewTally(layer.Limits{}), t.TempDir(), false)
	below := newDevices(nil)
	below.set("l", pathKind{target: strings.Repeat("/d", 2000)})
	o.devices = newDevices(below)
	n := 0
	for err := error(nil); err == nil && n < 30_000; n++ {
		name := fmt.Sprint("l/", n)
		err = o.add(&tar.Header{Name: name, Typeflag: tar.TypeChar}, &layer.Entry{Name: name, Type: layer.Char})
		if err != nil && err.Error() != (&layer.LimitError{What: "bytes that symbolic links add to names", Limit: maxGrown}).Error() {
			t.Fatal(err)
		}
	}
	if want := maxGrown / 4000; n < want || n > want+100 {
		t.Errorf("%d names were accepted, want %d", n, want)
	}
}

// TestOpaqueDirectoriesAreNamed pairs whiteouts with the directory named in the warning.
func TestOpaqueDirectoriesAreNamed(t *testing.T) {
	for name, want := range map[string]string{".wh..wh..opq": "/", "./.wh..wh..opq": "/", "/.wh..wh..opq": "/", "./a//b/.wh..wh..opq": "a/b"} {
		s := stream(t, packed(t, ""), layer.Limits{})
		o := newOwners(s, layer.NewTally(layer.Limits{}), t.TempDir(), false)
		o.overlay, o.opaqueAttr = true, "user.overlay.opaque"
		if err := o.add(&tar.Header{Name: name}, &layer.Entry{Name: name}); err != nil {
			t.Fatal(err)
		}
		var got string
		o.lost.Report(func(format string, args ...any) { got += fmt.Sprintf(format, args...) })
		if !strings.HasSuffix(got, fmt.Sprintf(": 1 is not set: trusted.overlay.opaque of %q", want)) {
			t.Errorf("%s: got %s, want %q", name, got, want)
		}
	}
}

// A device that a killed process left is removed, and the time of the directory stays.
func TestRestrictAfterKill(t *testing.T) {
	dir := t.TempDir()
	probe := filepath.Join(dir, ".osbuild-device")
	if err := unix.Mknod(probe, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
		t.Skip(err) // then restrict is for the whole process
	}
	if err := errors.Join(os.Chtimes(dir, time.Unix(0, 0), time.Unix(0, 0)), restrict(filepath.Join(dir, "store"))); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Error(left, err)
	}
	if st, err := os.Stat(dir); err != nil || st.ModTime().Unix() != 0 {
		t.Error(st.ModTime(), err)
	}
}
