package deploy

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
	"osbuild-containers/test/userns"
)

func owned(i item, uid, gid int) item {
	return i.With(func(h *tar.Header) { h.Uid, h.Gid = uid, gid })
}

func wantWarnings(t *testing.T, log string, want ...string) {
	t.Helper()
	for _, w := range want {
		if strings.Count(log, "warning: "+w+"\n") != 1 {
			t.Errorf("want %q once in\n%s", w, log)
		}
	}
	if got := strings.Count(log, "warning: "); got != len(want) {
		t.Errorf("%d warnings, want %d:\n%s", got, len(want), log)
	}
}

// TestInUserNamespace shows what is left out where the kernel gives root of a user namespace no right to it: each kind with
// one warning, and everything else is deployed.
func TestInUserNamespace(t *testing.T) {
	if !userns.Inside(t, userns.OneID()) {
		return
	}
	device := func(name string) item {
		return file(name).With(func(h *tar.Header) { h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, 5, 1 })
	}
	fifo := file("pipe").With(func(h *tar.Header) { h.Typeflag = tar.TypeFifo })
	p := newPlace(t)
	log, err := p.deploy(t, Options{}, layerOf(
		t, directory("dev"), device("dev/console"), device("dev/tty"), hardlink("dev/again", "dev/console"), device("dev/gone"), fifo,
		xattr(file("a", "1"), "trusted.x", "1"), xattr(file("b", "2"), "security.ima", "1"), xattr(file("d", "5"), "security.ima", "1"),
		xattr(file("ping", "3"), "security.capability", capNetRaw),
	), layerOf(t, file("dev/.wh.gone"), file("c", "4")))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.show(t), "a=1 b=2 c=4 d=5 dev/ ping=3 pipe 10000"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	wantWarnings(
		t, log,
		`only root of the host can make device nodes: 3 are not made, the first is "dev/console"`,
		`only root of the host can set attributes of trusted: 1 is not set: trusted.x of "a"`,
		`only root of the host can set attributes of security: 2 are not set, the first is security.ima of "b"`,
	)
}

// TestWithoutRights deploys as root that may neither make devices nor set attributes of trusted, as in a container; the file
// system of a virtual machine that an ordinary user runs refuses the same.
func TestWithoutRights(t *testing.T) {
	userns.Drop(t, unix.CAP_MKNOD, unix.CAP_SYS_ADMIN)
	if !userns.Inside(t, &syscall.SysProcAttr{}) {
		return
	}
	device := file("console").With(func(h *tar.Header) { h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, 5, 1 })
	p := newPlace(t)
	log, err := p.deploy(t, Options{}, layerOf(t, device, hardlink("again", "console"), xattr(file("a", "1"), "trusted.x", "1")))
	if got := p.show(t); err != nil || got != "a=1" {
		t.Errorf("got %s: %v", got, err)
	}
	wantWarnings(
		t, log,
		`only root of the host can make device nodes: 2 are not made, the first is "console"`,
		`only root of the host can set attributes of trusted: 1 is not set: trusted.x of "a"`,
	)
}

// TestDevicesInUserNamespace leaves out devices and hard links to them, with one warning about those that the tree would have.
func TestDevicesInUserNamespace(t *testing.T) {
	if !userns.Inside(t, userns.OneID()) {
		return
	}
	for name, c := range userns.Devices() {
		t.Run(name, func(t *testing.T) {
			var layers []Layer
			for _, headers := range c.Layers {
				layers = append(layers, zipped(t, userns.Archive(t, headers)))
			}
			p := newPlace(t)
			log, err := p.deploy(t, Options{}, layers...)
			if err != nil {
				t.Fatal(err)
			}
			if got := userns.Links(t, p.tree); got != c.Links {
				t.Errorf("got %q, want %q", got, c.Links)
			}
			want := fmt.Sprintf(": %d are not made", c.Count-c.Hidden)
			if c.Count-c.Hidden == 1 {
				want = ": 1 is not made"
			}
			if strings.Count(log, "warning: ") != 1 || !strings.Contains(log, want) {
				t.Errorf("want %q in %s", want, log)
			}
		})
	}
}

// TestUnmappedOwners shows the error of an owner, and of an ACL with one, that the user namespace does not map.
func TestUnmappedOwners(t *testing.T) {
	if !userns.Inside(t, userns.OneID()) {
		return
	}
	const remedy = ": invalid argument\nthe user namespace maps only uids 0 and gids 0: give the user who builds more ids in /etc/subuid and /etc/subgid" +
		" (usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST USER), or set the option ignore-owners"
	for want, i := range map[string]item{
		`file "f": set owner 1000:0` + remedy:                                    owned(file("f"), 1000, 0),
		`directory "d": set owner 0:5` + remedy:                                  owned(directory("d"), 0, 5),
		`make symbolic link "l": set owner 7:7` + remedy:                         owned(symlink("l", "f"), 7, 7),
		`file "acl": set attribute "system.posix_acl_access"` + remedy:           xattr(file("acl"), aclAccess, namedACL),
		`directory "default": set attribute "system.posix_acl_default"` + remedy: xattr(directory("default"), aclDefault, namedACL),
		`set metadata "g": set owner 9:9` + remedy:                               owned(hardlink("g", "f"), 9, 9),
	} {
		log, err := newPlace(t).deploy(t, Options{}, layerOf(t, file("f"), i))
		if err == nil || !strings.HasSuffix(hint.Text(err, hint.Fields), want) {
			t.Errorf("got  %v\nwant %s\n%s", err, want, log)
		}
	}
}

// namedACL gives user 1000 the right to read.
const namedACL = "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xe8\x03\x00\x00" +
	"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff"

// testIgnoreOwners shows that all belongs to the user of the process, whatever the layers say, with one warning.
func testIgnoreOwners(t *testing.T, capability string) {
	p := newPlace(t)
	log, err := p.deploy(
		t, Options{IgnoreOwners: true, Epoch: when}, layerOf(
			t, owned(file("f", "1"), 1000, 1000), owned(directory("d"), 7, 0), owned(file("implied/f", "2"), 1, 1), owned(file("own"), os.Geteuid(), os.Getegid()),
			owned(symlink("l", "f"), 9, 9), owned(hardlink("g", "f"), 8, 8), owned(xattr(file("acl"), aclAccess, namedACL), os.Geteuid(), os.Getegid()),
			owned(file("setuid"), 4294967294, 2).With(func(h *tar.Header) { h.Mode = 0o4755 }),
			xattr(owned(file("ping"), os.Geteuid(), os.Getegid()), "security.capability", capNetRaw),
		),
	)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`owners are ignored: 6 are not kept, the first is 1000:1000 of "f"`,
		`owners are ignored, and so are ACLs with users or groups: 1 is not set: system.posix_acl_access of "acl"`,
	}
	if capability != "" {
		want = append(want, capability)
	}
	wantWarnings(t, log, want...)
	walk(t, p.tree, func(name string, st *unix.Stat_t) {
		if int(st.Uid) != os.Geteuid() || int(st.Gid) != os.Getegid() {
			t.Errorf("%s belongs to %d:%d", name, st.Uid, st.Gid)
		}
		if name == "setuid" && st.Mode&0o7777 != 0o4755 {
			t.Errorf("%s has mode %o", name, st.Mode)
		}
	})
}

func TestIgnoreOwners(t *testing.T) { testIgnoreOwners(t, "") }

func TestIgnoreOwnersInUserNamespace(t *testing.T) {
	if userns.Inside(t, userns.OneID()) {
		testIgnoreOwners(t, "")
	}
}

func TestIgnoreOwnersAsOrdinaryUser(t *testing.T) {
	if userns.Inside(t, userns.Ordinary()) {
		testIgnoreOwners(t, `only root, of the host or of a user namespace, can set file capabilities: 1 is not set: security.capability of "ping"`)
	}
}

func TestOwnersAsOrdinaryUser(t *testing.T) {
	if !userns.Inside(t, userns.Ordinary()) {
		return
	}
	const want = "set owner 0:0: operation not permitted\nonly root can give files to others: run this in a user namespace, for example with podman unshare, or set the option ignore-owners"
	if _, err := newPlace(t).deploy(t, Options{}, layerOf(t, file("f"))); err == nil || !strings.HasSuffix(hint.Text(err, hint.Fields), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestSameTreeAsRoot compares the tree that root makes with the one that an ordinary user makes in a user namespace with
// further ids, as it is seen there.
func TestSameTreeAsRoot(t *testing.T) {
	device := func(name string, kind byte) item {
		return file(name).With(func(h *tar.Header) { h.Typeflag, h.Devmajor, h.Devminor = kind, 5, 1 })
	}
	mode := func(i item, mode int64) item { return i.With(func(h *tar.Header) { h.Mode = mode }) }
	p := newPlace(t)
	log, err := p.deploy(
		t, Options{Epoch: when}, layerOf(
			t, directory("dev"), device("dev/console", tar.TypeChar), device("dev/loop0", tar.TypeBlock), hardlink("dev/tty", "dev/console"),
			mode(owned(file("su", "1"), 0, 0), 0o6755), mode(owned(file("sg", "2"), 1000, 60000), 0o2755), mode(owned(directory("sticky"), 65536, 65536), 0o3777),
			owned(xattr(file("ping", "3"), "security.capability", capNetRaw), 0, 100), owned(hardlink("pong", "ping"), 0, 100),
			owned(xattr(file("acl"), aclAccess, namedACL), 2000, 2000), xattr(directory("default"), aclDefault, namedACL), file("default/f", "4"),
			owned(xattr(file("attr"), "user.lab", "x"), 1001, 1002), xattr(file("trusted"), "trusted.none", "x"), xattr(file("ima"), "security.ima", "x"),
			owned(symlink("link", "attr"), 1003, 1004), owned(file("many", strings.Repeat("x", 9000)), 33, 33), hardlink("again", "many"),
		), layerOf(t, file(".wh.many"), owned(file("implied/f"), 5000, 0)),
	)
	if err != nil {
		t.Fatal(err)
	}
	got := p.metadata(t)
	if userns.Second() {
		if n := strings.Count(log, "warning: "); n != 3 {
			t.Errorf("%d warnings, want 3:\n%s", n, log)
		}
		raw, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("\n%s\n", raw)
		return
	}
	out, err := userns.Run(t, userns.ManyIDs(t), nil, "-test.run=^"+t.Name()+"$")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var rootless map[string]string
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "{") {
			err = json.Unmarshal([]byte(line), &rootless)
		}
	}
	if err != nil || len(rootless) == 0 {
		t.Fatalf("no tree: %v\n%s", err, out)
	}
	for _, device := range []string{"dev/console", "dev/loop0", "dev/tty"} {
		if got[device] == "" || rootless[device] != "" {
			t.Errorf("%s: root has %q, the user %q", device, got[device], rootless[device])
		}
		delete(got, device)
	}
	if !maps.Equal(got, rootless) {
		for name := range got {
			if got[name] != rootless[name] {
				t.Errorf("%s: root has %q, the user %q", name, got[name], rootless[name])
			}
		}
		t.Errorf("root has %d paths, the user %d", len(got), len(rootless))
	}
}
