package pack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// acl of the owner rw-, the user 1000 r--, the group r--, the mask r-- and others ---.
const acl = "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xe8\x03\x00\x00" +
	"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"

const aclAsText = "user::rw-,user:1000:r--,group::r--,mask::r--,other::---"

// everything makes a tree with all that a layer can hold. Its names are made in the order
// that is given.
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
			must(t, os.Mkdir(at("folder"), 0o750))
			must(t, unix.Setxattr(at("folder"), "user.d", []byte("dir"), 0))
			must(t, unix.Setxattr(at("folder"), defaultACL, []byte(acl), 0))
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
	for _, name := range []string{"sparse", "links", "bin", long, "folder", "."} {
		setTime(t, at(name), epoch)
	}
	must(t, os.Chmod(dir, 0o755))
}

// privileged adds what only root can make.
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
	must(t, unix.Setxattr(at("ping"), "trusted.secret", []byte("x"), 0))
	for _, name := range []string{"null", "disk", "gone", "."} {
		setTime(t, at(name), epoch)
	}
}

func inOrder([]func()) {}

// lines shows each entry of a tar stream as one line.
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
			"SCHILY.xattr." + accessACL, "SCHILY.xattr." + defaultACL, "SCHILY.xattr.security.capability",
		} {
			if v, ok := h.PAXRecords[k]; ok {
				s += fmt.Sprintf(" %s=%q", k[len("SCHILY."):], v)
				delete(h.PAXRecords, k)
			}
		}
		for k := range h.PAXRecords {
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
		`4 "disk" 660 0:0 259,1048575`,
		`0 "empty" 644 0:0 0 bytes`,
		`6 "fifo" 600 0:0`,
		`5 "folder/" 750 0:0 xattr.user.d="dir" acl.default="` + aclAsText + fmt.Sprintf(`" xattr.%s=%q`, defaultACL, acl),
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
		`0 "ping" 644 4000000000:3000000 1 bytes xattr.security.capability=` + caps,
		`0 "sparse" 600 0:0 5242880 bytes`,
		`0 "ünï" 644 0:0 5 bytes`,
	}
	got := lines(t, read(t, pack(t, testImage(Compression{}), dir)).layer(t, 0))
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("entry %d of %d\n got %s\nwant %s", i, len(got), slices.Concat(got, []string{"nothing"})[min(i, len(got))], slices.Concat(want, []string{"nothing"})[min(i, len(want))])
		}
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

func TestWhatALayerCannotHoldIsTold(t *testing.T) {
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

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

// tick returns when the file system's clock has gone on, so that a change shows.
func tick(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	changed := func() unix.Timespec {
		var st unix.Stat_t
		must(t, os.Chmod(dir, 0o700))
		must(t, unix.Stat(dir, &st))
		return st.Ctim
	}
	for first := changed(); changed() == first; {
		runtime.Gosched()
	}
}

func TestATreeThatChangesIsRefused(t *testing.T) {
	for _, test := range []struct {
		name string
		when string // the header of which entry is written
		do   func(dir string) error
		want string
	}{
		{"grown", "d/f", func(d string) error { return os.Truncate(d+"/d/f", 3) }, "d/f"},
		{"shortened", "a", func(d string) error { return os.Truncate(d+"/a", 300<<10) }, "a"},
		{"folder filled", "d/f", func(d string) error { return os.WriteFile(d+"/d/g", nil, 0o600) }, "d/"},
		{"file gone", "d/f", func(d string) error { return os.Remove(d + "/d/f") }, "d/f"},
		{"written, with the old time", "a", func(d string) error {
			return errors.Join(os.WriteFile(d+"/a", make([]byte, 2<<20), 0o600), os.Chtimes(d+"/a", epoch, epoch))
		}, "a"},
		{"file becomes a fifo", "d/", func(d string) error {
			return errors.Join(os.Remove(d+"/d/f"), unix.Mkfifo(d+"/d/f", 0o600))
		}, "d/"},
		{"mode of the top", "a", func(d string) error { return os.Chmod(d, 0o711) }, "./"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir+"/a", strings.Repeat("x", 2<<20))
			write(t, dir+"/d/f", "f")
			setTime(t, dir+"/d", epoch) // no PAX header before its own
			tick(t)
			tw := treeWriter{ctx: context.Background(), note: t.Logf}
			done := false
			err := tw.write(writerFunc(func(p []byte) {
				if !done && bytes.HasPrefix(p, []byte(test.when+"\x00")) {
					done = true
					must(t, test.do(dir))
				}
			}), dir)
			if want := test.want + ": changed while it was read"; err == nil || err.Error() != want || !errors.Is(err, errChanged) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

func TestWhatCannotBeReadIsNamed(t *testing.T) {
	tw := treeWriter{ctx: context.Background(), note: t.Logf}
	err := tw.write(io.Discard, "/no/such/tree")
	if want := `open tree "/no/such/tree": no such file or directory`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if os.Geteuid() == 0 {
		return // root reads everything
	}
	dir := t.TempDir()
	write(t, dir+"/d/f", "f")
	must(t, os.Chmod(dir+"/d/f", 0))
	err = tw.write(io.Discard, dir)
	if want := "d/f: permission denied"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestTextOfACLs(t *testing.T) {
	for _, test := range []struct{ raw, want, err string }{
		{acl, aclAsText, ""},
		{"\x02\x00\x00\x00", "", ""},
		{"\x02\x00\x00\x00\x08\x00\x07\x00\xfe\xff\xff\xff", "group:4294967294:rwx", ""},
		{"", "", "ACL of 0 bytes is cut off"},
		{acl[:13], "", "ACL of 13 bytes is cut off"},
		{"\x01\x00\x00\x00", "", "ACL has version 1, want 2"},
		{"\x02\x00\x00\x00\x03\x00\x07\x00\xff\xff\xff\xff", "", "ACL has an entry that is not known"},
		{"\x02\x00\x00\x00\x01\x00\x08\x00\xff\xff\xff\xff", "", "ACL has an entry that is not known"},
	} {
		got, err := aclText(test.raw)
		if test.err == "" && err != nil || test.err != "" && (err == nil || err.Error() != test.err) || got != test.want {
			t.Errorf("%q: got %q, %v; want %q, %q", test.raw, got, err, test.want, test.err)
		}
	}
}
