package pack

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/layer"
)

// acl grants rw- to the owner, r-- to user 1000, r-- to the group, with the mask r-- and others ---.
const acl = "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xe8\x03\x00\x00" +
	"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"

const aclAsText = "user::rw-,user:1000:r--,group::r--,mask::r--,other::---"

// everything makes a tree with all types of entries of a layer, created in shuffled order.
func everything(t *testing.T, dir string, shuffle func([]func())) {
	t.Helper()
	long := strings.Repeat("n", 250)
	at := func(name string) string { return filepath.Join(dir, name) }
	steps := []func(){
		func() { write(t, at("big"), strings.Repeat("some text, again and again\n", 200_000)) },
		func() { write(t, at("empty"), "") },
		func() { write(t, at("bin/su"), "x"); must(t, unix.Chmod(at("bin/su"), 0o6755)) },
		func() { write(t, at("Zupper"), "z") },
		func() { write(t, at("bad-\xff\xfe"), "not UTF-8") },
		func() { write(t, at("ünï"), "UTF-8") },
		func() { write(t, at(long+"/"+long), "long") },
		func() { write(t, at("nano"), "n"); setTime(t, at("nano"), epoch.Add(-123456789)) },
		func() { write(t, at("later"), "l"); setTime(t, at("later"), epoch.Add(time.Hour)) },
		func() { write(t, at("old"), "o"); setTime(t, at("old"), time.Unix(-5, 500)) },
		func() { must(t, os.Symlink("/no/such/place", at("link"))); setTime(t, at("link"), epoch) },
		func() { must(t, unix.Mkfifo(at("fifo"), 0o600)); setTime(t, at("fifo"), epoch) },
		func() { must(t, os.WriteFile(at("sparse"), nil, 0o600)); must(t, os.Truncate(at("sparse"), 5<<20)) },
		func() {
			write(t, at("attrs"), "a")
			must(t, unix.Setxattr(at("attrs"), "user.b=c", []byte("2"), 0))
			must(t, unix.Setxattr(at("attrs"), "user.a", []byte("one\x00\xff"), 0))
			must(t, unix.Setxattr(at("attrs"), accessACL, []byte(acl), 0))
		},
		func() {
			must(t, os.Mkdir(at("directory"), 0o750))
			must(t, unix.Setxattr(at("directory"), "user.d", []byte("dir"), 0))
			must(t, unix.Setxattr(at("directory"), defaultACL, []byte(acl), 0))
		},
	}
	shuffle(steps)
	for _, step := range steps {
		step()
	}
	must(t, os.MkdirAll(at("links"), 0o755))
	must(t, os.Link(at("nano"), at("links/two")))
	must(t, os.Link(at("nano"), at("aaa")))
	must(t, os.Link(at("link"), at("links/symlink")))
	for _, name := range []string{"sparse", "links", "bin", long, "directory", "."} {
		setTime(t, at(name), epoch)
	}
	must(t, os.Chmod(dir, 0o755))
}

// privileged adds entries that only root can create.
func privileged(t *testing.T, dir string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, unix.Mknod(at("disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 1_048_575))))
	must(t, unix.Mknod(at("gone"), unix.S_IFCHR, 0))
	must(t, unix.Chmod(at("disk"), 0o660))
	must(t, unix.Setxattr(at("null"), accessACL, []byte(acl), 0))
	write(t, at("ping"), "p")
	must(t, unix.Lchown(at("ping"), 4_000_000_000, 3_000_000))
	must(t, unix.Setxattr(at("ping"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	must(t, unix.Setxattr(at("ping"), "security.ima", []byte("\x04\x04measured"), 0))
	must(t, unix.Setxattr(at("ping"), "trusted.secret", []byte("x"), 0))
	must(t, unix.Setxattr(at("ping"), "user.overlay.origin", []byte("x"), 0))
	for _, name := range []string{"null", "disk", "gone", "."} {
		setTime(t, at(name), epoch)
	}
}

func inOrder([]func()) {}

// lines describes each entry of a tar stream in one line.
func lines(t *testing.T, raw []byte) []string {
	t.Helper()
	var out []string
	for tr := tar.NewReader(bytes.NewReader(raw)); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return out
		}
		must(t, err)
		if h.Uname != "" || h.Gname != "" {
			t.Errorf("%s has an owner with a name", h.Name)
		}
		s := fmt.Sprintf("%c %q %o %d:%d", h.Typeflag, h.Name, h.Mode, h.Uid, h.Gid)
		if h.Typeflag == tar.TypeReg {
			n, err := io.Copy(io.Discard, tr)
			must(t, err)
			s += fmt.Sprintf(" %d bytes", n)
		}
		if h.Linkname != "" {
			s += " -> " + h.Linkname
		}
		if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock {
			s += fmt.Sprintf(" %d,%d", h.Devmajor, h.Devminor)
		}
		if !h.ModTime.Equal(epoch) {
			s += " " + h.ModTime.Sub(epoch).String()
		}
		for _, k := range []string{
			"SCHILY.xattr.user.a", "SCHILY.xattr.user.b%3Dc", "SCHILY.xattr.user.d", "SCHILY.acl.access", "SCHILY.acl.default",
			"SCHILY.xattr." + accessACL, "SCHILY.xattr." + defaultACL, "SCHILY.xattr.security.capability", "SCHILY.xattr.security.ima",
		} {
			if v, ok := h.PAXRecords[k]; ok {
				s += fmt.Sprintf(" %s=%q", k[len("SCHILY."):], v)
				delete(h.PAXRecords, k)
			}
		}
		for _, k := range slices.Sorted(maps.Keys(h.PAXRecords)) {
			if strings.HasPrefix(k, "SCHILY.") {
				s += " unexpected " + k
			}
		}
		out = append(out, s)
	}
}

func TestALayerSaysWhatTheTreeIs(t *testing.T) {
	mustBeRoot(t)
	dir := t.TempDir()
	everything(t, dir, inOrder)
	privileged(t, dir)
	long, caps := strings.Repeat("n", 250), `"\x01\x00\x00\x02\x00 \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"`
	want := []string{
		`5 "./" 755 0:0`,
		`0 "Zupper" 644 0:0 1 bytes`,
		`0 "aaa" 644 0:0 1 bytes -123.456789ms`,
		`0 "attrs" 640 0:0 1 bytes xattr.user.a="one\x00\xff" xattr.user.b%3Dc="2" acl.access="` + aclAsText + fmt.Sprintf(`" xattr.%s=%q`, accessACL, acl),
		`0 "bad-\xff\xfe" 644 0:0 9 bytes`,
		`0 "big" 644 0:0 5400000 bytes`,
		`5 "bin/" 755 0:0`,
		`0 "bin/su" 6755 0:0 1 bytes`,
		`5 "directory/" 750 0:0 xattr.user.d="dir" acl.default="` + aclAsText + fmt.Sprintf(`" xattr.%s=%q`, defaultACL, acl),
		`4 "disk" 660 0:0 259,1048575`,
		`0 "empty" 644 0:0 0 bytes`,
		`6 "fifo" 600 0:0`,
		`3 "gone" 0 0:0 0,0`,
		`0 "later" 644 0:0 1 bytes`,
		`2 "link" 777 0:0 -> /no/such/place`,
		`5 "links/" 755 0:0`,
		`1 "links/symlink" 777 0:0 -> link`,
		`1 "links/two" 644 0:0 -> aaa -123.456789ms`,
		`1 "nano" 644 0:0 -> aaa -123.456789ms`,
		`5 "` + long + `/" 755 0:0`,
		`0 "` + long + "/" + long + `" 644 0:0 4 bytes`,
		`3 "null" 640 0:0 1,3 acl.access="` + aclAsText + fmt.Sprintf(`" xattr.%s=%q`, accessACL, acl),
		`0 "old" 644 0:0 1 bytes -472222h13m24.9999995s`,
		`0 "ping" 644 4000000000:3000000 1 bytes xattr.security.capability=` + caps + ` xattr.security.ima="\x04\x04measured"`,
		`0 "sparse" 600 0:0 5242880 bytes`,
		`0 "ünï" 644 0:0 5 bytes`,
	}
	got := lines(t, read(t, pack(t, testImage(Compression{}), dir)).layer(t, 0))
	compare(t, got, want)
}

// TestNamesOfAttributes has names that a record cannot contain or that tools interpret differently, in any order: container tools
// read names without "=", GNU tar names that do not look encoded, and package layer all.
func TestNamesOfAttributes(t *testing.T) {
	for _, c := range []struct {
		names, podman []string
		gnu           bool
	}{
		{[]string{"user.a=b", "user.%"}, []string{"user.%"}, true},
		{[]string{"user.a%3Db", "user.a%25b"}, []string{"user.a%3Db", "user.a%25b"}, false},
		{[]string{"user.a=b", "user.a%3Db"}, []string{"user.a%3Db"}, false},
	} {
		for range 2 {
			slices.Reverse(c.names)
			dir := t.TempDir()
			write(t, filepath.Join(dir, "f"), "f")
			for _, name := range c.names {
				must(t, unix.Setxattr(filepath.Join(dir, "f"), name, []byte(name), 0))
			}
			raw := read(t, pack(t, testImage(Compression{}), dir)).layer(t, 0)
			r := tar.NewReader(bytes.NewReader(raw))
			_, err := r.Next()
			must(t, err)
			h, err := r.Next()
			must(t, err)
			for _, name := range c.podman {
				if got := h.PAXRecords[xattrKey+name]; got != name {
					t.Errorf("%q: the record %s is of %q", c.names, name, got)
				}
			}
			image := layer.NewReader(bytes.NewReader(raw), layer.NewTally(layer.Limits{}))
			_, err = image.Next()
			must(t, err)
			e, err := image.Next()
			must(t, err)
			for _, name := range c.names {
				if e.Xattrs[name] != name || len(e.Xattrs) != len(c.names) {
					t.Errorf("%q: package layer reads %q", c.names, e.Xattrs)
				}
			}
			if _, err := exec.LookPath("tar"); err == nil && c.gnu {
				file, out := filepath.Join(t.TempDir(), "layer"), t.TempDir()
				must(t, os.WriteFile(file, raw, 0o600))
				run(t, "tar", "--xattrs", "--xattrs-include=*", "-xpf", file, "-C", out)
				comesBack(t, out, lines(t, raw), 0)
			}
		}
	}
}

// The image specification advises against tar's sparse formats, which tools interpret differently.
func TestHolesAreZeros(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(dir + "/f")
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(5<<20))
	_, err = f.WriteAt([]byte("middle"), 3<<20)
	must(t, err)
	tr := tar.NewReader(bytes.NewReader(read(t, pack(t, testImage(Compression{}), dir)).layer(t, 0)))
	_, err = tr.Next()
	must(t, err)
	h, err := tr.Next()
	must(t, err)
	got, err := io.ReadAll(tr)
	must(t, err)
	want := make([]byte, 5<<20)
	copy(want[3<<20:], "middle")
	if !bytes.Equal(got, want) || h.Typeflag != tar.TypeReg {
		t.Errorf("%d bytes of type %c, want 5 MiB of zeros and a word", len(got), h.Typeflag)
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse") {
			t.Errorf("there is a record %s", k)
		}
	}
}

func TestAnEmptyTreeIsALayer(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o750))
	setTime(t, dir, epoch)
	if got := lines(t, read(t, pack(t, testImage(Compression{}), dir)).layer(t, 0)); len(got) != 1 || !strings.HasPrefix(got[0], `5 "./" 750 `) {
		t.Errorf("got %q, want the directory alone", got)
	}
}

func TestWithoutAnEpochTimesStay(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "later"), "l")
	setTime(t, filepath.Join(dir, "later"), epoch.Add(time.Hour+1))
	img := testImage(Compression{})
	img.Epoch = nil
	got := lines(t, read(t, pack(t, img, dir)).layer(t, 0))
	if want := "1h0m0.000000001s"; !strings.HasSuffix(got[1], want) {
		t.Errorf("got %s, want a time of %s", got[1], want)
	}
}

func TestUnsupportedFilesAreLogged(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "d/.wh.x"), "")
	l, err := net.Listen("unix", filepath.Join(dir, "d/s"))
	must(t, err)
	defer l.Close()
	var notes []string
	tw := treeWriter{ctx: context.Background(), note: func(f string, a ...any) { notes = append(notes, fmt.Sprintf(f, a...)) }}
	must(t, tw.write(io.Discard, dir))
	want := []string{
		"d/.wh.x: this name removes files of the layers below when the layer is unpacked",
		"d/s: socket left out",
	}
	if !slices.Equal(notes, want) || tw.entries != 3 {
		t.Errorf("got %d entries and %q, want 3 and %q", tw.entries, notes, want)
	}
}
