package deploy

import (
	"archive/tar"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/progress"
)

// acl is one for user 7 in addition to the owner: version, then tag, permissions and id.
const acl = "\x02\x00\x00\x00" +
	"\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\x07\x00\x00\x00" +
	"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff"

// capNetRaw is what security.capability holds for ping.
const capNetRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func xattr(i item, name, value string) item {
	return i.With(func(h *tar.Header) {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+name] = value
	})
}

// metadata is a line for each path: type and mode, owner, time, size or device, and
// attributes.
func (p place) metadata(t testing.TB) map[string]string {
	t.Helper()
	lines := map[string]string{}
	walk(t, p.tree, func(name string, st *unix.Stat_t) {
		what := fmt.Sprint(st.Size)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			what = "dir"
		case unix.S_IFCHR, unix.S_IFBLK:
			what = fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		line := fmt.Sprintf("%o %d:%d %d.%09d %s", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec, what)
		path := filepath.Join(p.tree, name)
		for _, attr := range []string{"security.capability", "user.lab", "user.bin", "trusted.lab", "system.posix_acl_access", "security.selinux", "trusted.overlay.origin", "user.overlay.origin"} {
			buf := make([]byte, 200)
			if n, err := unix.Lgetxattr(path, attr, buf); err == nil {
				line += fmt.Sprintf(" %s=%q", attr, buf[:n])
			}
		}
		lines[name] = line
	})
	return lines
}

func TestMetadataIsWhatTheLayersSay(t *testing.T) {
	p := newPlace(t)
	set := func(i item, change func(h *tar.Header)) item { return i.With(change) }
	mode := func(i item, m int64) item { return set(i, func(h *tar.Header) { h.Mode = m }) }
	at := func(i item, sec, nsec int64) item {
		return set(i, func(h *tar.Header) { h.ModTime, h.Format = time.Unix(sec, nsec), tar.FormatPAX })
	}
	dev := func(name string, kind byte, major, minor int64) item {
		return item{Header: tar.Header{Typeflag: kind, Name: name, Mode: 0o660, Gid: 6, Devmajor: major, Devminor: minor, ModTime: when}}
	}
	long := strings.Repeat("n", 250)
	deep := strings.Repeat(strings.Repeat("deep", 20)+"/", 12)
	_, err := p.deploy(t, Options{Epoch: time.Unix(5, 0)},
		layerOf(t,
			at(mode(directory("./"), 0o711), 1600000000, 5),
			mode(directory("d"), 0o700), at(directory("late"), 1, 1),
			xattr(directory("da"), "user.lab", "1"),
			file("late/x", ""),
		),
		layerOf(t,
			mode(file("suid"), 0o4755), mode(file("sgid"), 0o2755), mode(directory("sticky"), 0o1777), mode(file("noperm"), 0),
			xattr(mode(file("cap"), 0o755), "security.capability", capNetRaw),
			xattr(xattr(xattr(file("attr"), "user.lab", "value"), "user.bin", "\x00\xff\x01=\n"), "trusted.lab", "t"),
			xattr(file("acl"), "system.posix_acl_access", acl),
			xattr(xattr(xattr(file("label"), "security.selinux", "x"), "trusted.overlay.origin", "y"), "user.overlay.origin", "y"),
			xattr(symlink("linkattr", "x"), "trusted.lab", "on a link"),
			set(file("owner"), func(h *tar.Header) { h.Uid, h.Gid = 1234567, 2097153 }),
			set(mode(file("ownersuid"), 0o4755), func(h *tar.Header) { h.Uid = 5 }),
			set(file("huge"), func(h *tar.Header) { h.Uid, h.Gid, h.Format = 3000000000, 4294967294, tar.FormatGNU }),
			set(symlink("ownerlink", "x"), func(h *tar.Header) { h.Uid = 9 }),
			at(file("nsec"), 1700000000, 123456789), at(symlink("nseclink", "x"), 1700000001, 987654321), at(file("y1960"), -315000000, 0),
			dev("null", tar.TypeChar, 1, 3), dev("loop9", tar.TypeBlock, 7, 9), dev("pipe", tar.TypeFifo, 0, 0),
			file("latin1-\xe9"), file("new\nline: \\back"), file(long), file(deep+"leaf"),
			mode(directory("d"), 0o750),
			file("late/y"),
		))
	if err != nil {
		t.Fatal(err)
	}
	const std = "1700000000.000000000"
	want := map[string]string{
		".":                 "40711 0:0 1600000000.000000005 dir",
		"d":                 "40750 0:0 " + std + " dir",
		"late":              "40755 0:0 1.000000001 dir",
		"late/x":            "100644 0:0 " + std + " 0",
		"late/y":            "100644 0:0 " + std + " 0",
		"da":                "40755 0:0 " + std + ` dir user.lab="1"`,
		"suid":              "104755 0:0 " + std + " 0",
		"sgid":              "102755 0:0 " + std + " 0",
		"sticky":            "41777 0:0 " + std + " dir",
		"noperm":            "100000 0:0 " + std + " 0",
		"cap":               "100755 0:0 " + std + fmt.Sprintf(" 0 security.capability=%q", capNetRaw),
		"attr":              "100644 0:0 " + std + ` 0 user.lab="value" user.bin="\x00\xff\x01=\n" trusted.lab="t"`,
		"acl":               "100644 0:0 " + std + fmt.Sprintf(" 0 system.posix_acl_access=%q", acl),
		"label":             "100644 0:0 " + std + " 0",
		"owner":             "100644 1234567:2097153 " + std + " 0",
		"huge":              "100644 3000000000:4294967294 " + std + " 0",
		"nsec":              "100644 0:0 1700000000.123456789 0",
		"y1960":             "100644 0:0 -315000000.000000000 0",
		"null":              "20660 0:6 " + std + " 1:3",
		"loop9":             "60660 0:6 " + std + " 7:9",
		"pipe":              "10660 0:6 " + std + " 0",
		long:                "100644 0:0 " + std + " 0",
		"linkattr":          "120777 0:0 " + std + ` 1 trusted.lab="on a link"`,
		"ownersuid":         "104755 5:0 " + std + " 0",
		"ownerlink":         "120777 9:0 " + std + " 1",
		"nseclink":          "120777 0:0 1700000001.987654321 1",
		"latin1-\xe9":       "100644 0:0 " + std + " 0",
		"new\nline: \\back": "100644 0:0 " + std + " 0",
		deep + "leaf":       "100644 0:0 " + std + " 0",
	}
	for at, _ := split(deep + "leaf"); at != "."; at, _ = split(at) {
		want[at] = "40755 0:0 5.000000000 dir" // no layer has it: the epoch
	}
	got := p.metadata(t)
	for name, line := range want {
		if got[name] != line {
			t.Errorf("%q is\n     %s\nwant %s", name, got[name], line)
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("%q should not be there", name)
	}
}

// What directories of the tree hand down to what is made in them is not what layers say.
func TestNothingIsInherited(t *testing.T) {
	p := newPlace(t)
	mkdir(t, p, "d")
	d := filepath.Join(p.tree, "d")
	if err := unix.Setxattr(d, "system.posix_acl_default", []byte(acl), 0); err != nil {
		t.Skip("no ACLs here:", err)
	}
	if err := unix.Chown(d, 0, 77); err != nil {
		t.Fatal(err)
	}
	if err := unix.Chmod(d, 0o2755); err != nil {
		t.Fatal(err)
	}
	if _, err := p.deploy(t, Options{}, layerOf(t, directory("d/e"), file("d/f"), file("d/e/g"), symlink("d/l", "x"),
		item{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "d/p", Mode: 0o644, ModTime: when}})); err != nil {
		t.Fatal(err)
	}
	got := p.metadata(t)
	for name, want := range map[string]string{
		"d/e":   "40755 0:0 1700000000.000000000 dir",
		"d/f":   "100644 0:0 1700000000.000000000 0",
		"d/e/g": "100644 0:0 1700000000.000000000 0",
		"d/l":   "120777 0:0 1700000000.000000000 1",
		"d/p":   "10644 0:0 1700000000.000000000 0",
	} {
		if got[name] != want {
			t.Errorf("%s is\n     %s\nwant %s", name, got[name], want)
		}
	}
	if n, err := unix.Getxattr(filepath.Join(d, "e"), "system.posix_acl_default", nil); err == nil {
		t.Errorf("d/e has a default ACL of %d bytes", n)
	}
	if !strings.HasPrefix(got["d"], "42755 0:77") {
		t.Errorf("d, which no layer has, is %s", got["d"])
	}
}

func TestIDsAreMapped(t *testing.T) {
	p := newPlace(t)
	opt := Options{UIDs: []IDRange{{0, 1000, 1}, {1, 2000, 10}}, GIDs: []IDRange{{0, 5000, 100}}}
	_, err := p.deploy(t, opt, layerOf(t,
		file("a").With(func(h *tar.Header) { h.Uid, h.Gid = 3, 42 }),
		xattr(file("acl"), "system.posix_acl_access", acl), file("d/x")))
	if err != nil {
		t.Fatal(err)
	}
	got := p.metadata(t)
	for name, want := range map[string]string{
		"a":   " 2002:5042 ",
		"d":   " 1000:5000 ",
		"acl": fmt.Sprintf("=%q", strings.Replace(acl, "\x07\x00\x00\x00", "\xd6\x07\x00\x00", 1)), // 2006
	} {
		if !strings.Contains(got[name], want) {
			t.Errorf("%s is %s, want %s", name, got[name], want)
		}
	}
	_, err = newPlace(t).deploy(t, opt, layerOf(t, file("d/b").With(func(h *tar.Header) { h.Uid = 11 })))
	if err == nil || !strings.Contains(err.Error(), `"d/b": uid 11 is in no range of the map`) {
		t.Errorf("error %v", err)
	}
}

func TestRootWithoutAnEntry(t *testing.T) {
	p := newPlace(t)
	if err := unix.Chmod(p.tree, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := p.deploy(t, Options{Epoch: time.Unix(9, 0)}); err != nil {
		t.Fatal(err)
	}
	if got, want := p.metadata(t)["."], "40755 0:0 9.000000000 dir"; got != want {
		t.Errorf("an empty tree's root is %s, want %s", got, want)
	}
	write(t, p, "mine", "")
	if err := unix.Chmod(p.tree, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := p.deploy(t, Options{}, layerOf(t, file("a"))); err != nil {
		t.Fatal(err)
	}
	if got, want := p.metadata(t)["."], "40700 0:0 "; !strings.HasPrefix(got, want) {
		t.Errorf("a used tree's root is %s, want %s", got, want)
	}
}

// The header of a hard link is about its file, too: the last one counts, as in podman.
func TestHeadersOfHardLinks(t *testing.T) {
	of := func(i item, mode int64, id int, sec int64) item {
		return i.With(func(h *tar.Header) { h.Mode, h.Uid, h.Gid, h.ModTime = mode, id, id, time.Unix(sec, 0) })
	}
	old := func(name string) item {
		return xattr(xattr(of(file(name, "x"), 0o4755, 1, 1), "user.lab", "old"), "user.bin", "old")
	}
	link := func(name, target string) item {
		return xattr(of(hardlink(name, target), 0o640, 2, 2), "user.lab", "new")
	}
	fifo := item{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "a", Mode: 0o600, ModTime: when}}
	const both = `100640 2:2 2.000000000 1 user.lab="new" user.bin="old"`
	for name, c := range map[string]struct {
		layers  [][]item
		exclude string
		want    map[string]string
	}{
		"in a layer":                      {layers: [][]item{{old("a"), link("b", "a")}}, want: map[string]string{"a": both, "b": both}},
		"of a hard link to a hard link":   {layers: [][]item{{old("a"), of(hardlink("b", "a"), 0, 9, 9), link("c", "b")}}, want: map[string]string{"a": both, "c": both}},
		"of a link that is hidden":        {layers: [][]item{{old("a"), link("b", "a")}, {file(".wh.b")}}, want: map[string]string{"a": both}},
		"of a link that is replaced":      {layers: [][]item{{old("a"), link("b", "a"), directory("b")}}, want: map[string]string{"a": both}},
		"of a link to itself":             {layers: [][]item{{old("a"), hardlink("b", "a"), link("a", "b")}}, want: map[string]string{"a": both, "b": both}},
		"of a file that is hidden":        {layers: [][]item{{old("a"), link("b", "a")}, {file(".wh.a")}}, want: map[string]string{"b": both}},
		"of a file that is excluded":      {layers: [][]item{{old("a"), link("b", "a"), hardlink("c", "a"), link("d", "c")}}, exclude: "a", want: map[string]string{"b": both, "d": both}},
		"of a file of a layer below":      {layers: [][]item{{old("a")}, {link("b", "a")}}, want: map[string]string{"a": both, "b": both}},
		"of a hidden file of one":         {layers: [][]item{{old("a")}, {link("b", "a")}, {file(".wh.a")}}, want: map[string]string{"b": both}},
		"the highest layer counts":        {layers: [][]item{{old("a"), of(hardlink("z", "a"), 0, 9, 9)}, {of(hardlink("b", "a"), 0, 8, 8)}, {link("c", "b")}}, want: map[string]string{"a": both, "b": both, "c": both, "z": both}},
		"a symbolic link keeps its time":  {layers: [][]item{{of(symlink("a", "x"), 0o777, 1, 1), of(hardlink("b", "a"), 0o640, 2, 2)}}, want: map[string]string{"a": "120777 2:2 1.000000000 1"}},
		"of a fifo":                       {layers: [][]item{{fifo, of(hardlink("b", "a"), 0o640, 2, 2)}}, want: map[string]string{"a": "10640 2:2 2.000000000 0"}},
		"capabilities stay with an owner": {layers: [][]item{{xattr(of(file("a"), 0o755, 2, 1), capability, capNetRaw), of(hardlink("b", "a"), 0o755, 2, 2)}}, want: map[string]string{"a": fmt.Sprintf("100755 2:2 2.000000000 0 security.capability=%q", capNetRaw)}},
		"and go with it":                  {layers: [][]item{{xattr(of(file("a"), 0o755, 1, 1), capability, capNetRaw), of(hardlink("b", "a"), 0o755, 2, 2)}}, want: map[string]string{"a": "100755 2:2 2.000000000 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			var layers []Layer
			for _, items := range c.layers {
				layers = append(layers, layerOf(t, items...))
			}
			opt := Options{}
			if c.exclude != "" {
				opt.Exclude = []string{c.exclude}
			}
			if _, err := p.deploy(t, opt, layers...); err != nil {
				t.Fatal(err)
			}
			got := p.metadata(t)
			for path, want := range c.want {
				if got[path] != want {
					t.Errorf("%s is\n     %s\nwant %s", path, got[path], want)
				}
			}
		})
	}
}

// TestAttributesThatANodeCannotHave has one warning for all of them.
func TestAttributesThatANodeCannotHave(t *testing.T) {
	var out strings.Builder
	p := newPlace(t)
	fifo := file("fifo").With(func(h *tar.Header) { h.Typeflag = tar.TypeFifo })
	err := Deploy(t.Context(), p.tree, []Layer{layerOf(t, xattr(symlink("link", "x"), "user.a", "1"), xattr(fifo, "user.b", "1"))},
		Options{}, progress.NewLog(&out))
	want := `warning: links, FIFOs and devices have no user attributes: 2 are not set, the first is user.a of "link"`
	if err != nil || strings.Count(out.String(), "warning") != 1 || !strings.Contains(out.String(), want) {
		t.Errorf("error %v, log %s", err, out.String())
	}
}
