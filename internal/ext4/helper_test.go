package ext4_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/ext4"
)

var epoch = time.Unix(1700000000, 123456789).UTC()

// options are those of a file system of a test.
func options(size int64) ext4.Options {
	return ext4.Options{
		Size: size, Inodes: 12000, Time: epoch, Label: "test",
		UUID:     [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
		HashSeed: [16]byte{0: 42, 7: 200, 15: 9},
	}
}

// meta is the metadata of most files in the tests.
func meta(mode uint32) ext4.Meta { return ext4.Meta{Mode: mode, ModTime: epoch.Add(time.Hour)} }

// image makes an image of that size in a file and returns its name.
func image(t *testing.T, opt ext4.Options, fill func(*ext4.FS)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(opt.Size))
	fs, err := ext4.New(f, opt)
	must(t, err)
	fill(fs)
	must(t, fs.Sync())
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tool finds a program, and skips the test when it is not installed.
func tool(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// do runs a program that must succeed.
func do(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), tool(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// check has e2fsck look at an image.
func check(t *testing.T, path string) {
	t.Helper()
	out := do(t, "e2fsck", "-fn", path)
	if strings.Contains(out, "?") || strings.Contains(out, "optimiz") {
		t.Errorf("e2fsck: %s", out)
	}
}

// mounted mounts an image, and skips the test where that is impossible.
func mounted(t *testing.T, path string, options string) (dir string, unmount func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	dir = t.TempDir()
	mount := tool(t, "mount")
	if out, err := exec.CommandContext(t.Context(), mount, "-o", "loop,"+options, path, dir).CombinedOutput(); err != nil {
		if strings.Contains(string(out), "loop") {
			t.Skipf("no loop device: %s", out)
		}
		t.Fatalf("mount: %v\n%s", err, out)
	}
	done := false
	unmount = func() {
		if !done {
			done = true
			// A child of this process that has not called execve yet has its open files, and another process may have
			// a copy of the mounts for a moment.
			err := unix.Unmount(dir, 0)
			for range 1000 {
				if err == unix.EBUSY {
					err = unix.Unmount(dir, 0)
				} else if out, e := exec.Command("losetup", "-j", path).Output(); e != nil || len(out) == 0 {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			must(t, err)
		}
	}
	t.Cleanup(unmount)
	return dir, unmount
}

// file writes a file.
func file(t *testing.T, fs *ext4.FS, name, content string, m ext4.Meta) {
	t.Helper()
	f, err := fs.Create(name, false)
	must(t, err)
	_, err = io.WriteString(f, content)
	must(t, err)
	must(t, f.Close(m))
}

func mkdir(t *testing.T, fs *ext4.FS, name string, m ext4.Meta) {
	t.Helper()
	_, err := fs.Mkdir(name)
	must(t, err)
	must(t, fs.SetMeta(name, m))
}

// acl returns an ACL that gives a user more than the others.
func acl(mask byte) string {
	return "\x02\x00\x00\x00" +
		"\x01\x00\x07\x00\xff\xff\xff\xff" +
		"\x02\x00\x06\x00\xe8\x03\x00\x00" +
		"\x04\x00\x05\x00\xff\xff\xff\xff" +
		"\x10\x00" + string(mask) + "\x00\xff\xff\xff\xff" +
		"\x20\x00\x05\x00\xff\xff\xff\xff"
}

// text returns n bytes that are not zeros.
func text(n int, seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 7))
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.IntN(255)) + 1
	}
	return string(p)
}

// trees are what a file system must be able to hold.
var trees = map[string]func(*testing.T, *ext4.FS){
	"empty": func(*testing.T, *ext4.FS) {},
	"all types": func(t *testing.T, fs *ext4.FS) {
		mkdir(t, fs, "d", ext4.Meta{Mode: 0o7750, UID: 70000, GID: 1 << 31, ModTime: time.Unix(-5, 999999999)})
		file(t, fs, "d/f", "hello", ext4.Meta{Mode: 0o4711, UID: 1, GID: 2, ModTime: time.Unix(1<<32+5, 1)})
		file(t, fs, "d/empty", "", meta(0o600))
		file(t, fs, "d/zeros", strings.Repeat("\x00", 100000), meta(0o600))
		file(t, fs, "d/big", text(3<<20, 1), meta(0o600))
		must(t, fs.Symlink("d/short", "f", meta(0)))
		must(t, fs.Symlink("d/59", strings.Repeat("x", 59), meta(0)))
		must(t, fs.Symlink("d/60", strings.Repeat("x", 60), meta(0)))
		must(t, fs.Symlink("d/long", strings.Repeat("/y", 2000), meta(0)))
		must(t, fs.Mknod("d/null", unix.S_IFCHR, 1, 3, meta(0o666)))
		must(t, fs.Mknod("d/disk", unix.S_IFBLK, 259, 70000, meta(0o660)))
		must(t, fs.Mknod("d/fifo", unix.S_IFIFO, 0, 0, meta(0o600)))
		must(t, fs.Mknod("d/socket", unix.S_IFSOCK, 0, 0, meta(0o600)))
		must(t, fs.Link("link", "d/f"))
		must(t, fs.Link("d/link2", "link"))
		must(t, fs.Link("d/nulllink", "d/null"))
		must(t, fs.SetMeta(".", ext4.Meta{Mode: 0o555, UID: 7, ModTime: epoch}))
	},
	"attributes": func(t *testing.T, fs *ext4.FS) {
		x := func(kv ...string) ext4.Meta {
			m := meta(0o754)
			m.Xattrs = map[string]string{}
			for i := 0; i < len(kv); i += 2 {
				m.Xattrs[kv[i]] = kv[i+1]
			}
			return m
		}
		const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
		file(t, fs, "capability", "", x("security.capability", capability))
		file(t, fs, "selinux", "", x("security.selinux", "system_u:object_r:etc_t:s0\x00"))
		file(t, fs, "acl", "", x("system.posix_acl_access", acl(5)))
		mkdir(t, fs, "dir", x("system.posix_acl_access", acl(7), "system.posix_acl_default", acl(7), "user.x", "y"))
		file(t, fs, "some", "", x("user.a", text(10, 1), "user.empty", "", "security.selinux", text(30, 2), "trusted.overlay.x", text(100, 3), "user.caf\xe9", "latin"))
		file(t, fs, "block", "", x("user.a", text(4000, 1), "user.b", "small"))
		file(t, fs, "large", "", x("user.a", text(64<<10, 1), "user.b", text(64<<10, 2), "user.c", text(5000, 3), "security.selinux", "label\x00"))
		file(t, fs, "longname", "", x("user."+strings.Repeat("n", 250), text(4000, 1)))
		must(t, fs.Symlink("link", "large", ext4.Meta{Xattrs: map[string]string{"security.selinux": "label\x00", "trusted.t": text(50000, 1)}}))
		many := x()
		for i := range 60 {
			many.Xattrs[fmt.Sprintf("user.%d", i)] = text(i*13, uint64(i))
		}
		file(t, fs, "several", "", many)
	},
	"many names": func(t *testing.T, fs *ext4.FS) {
		mkdir(t, fs, "many", meta(0o755))
		for i := range 10000 {
			file(t, fs, fmt.Sprintf("many/file-%d", i), "", meta(0o644))
		}
		mkdir(t, fs, "long", meta(0o755))
		file(t, fs, "long/x", "", meta(0o644))
		for i := range 9000 { // more blocks than a tree of one level has
			must(t, fs.Link(fmt.Sprintf("long/%d-%s", i, strings.Repeat("x", 240)), "long/x"))
		}
	},
	"deep": func(t *testing.T, fs *ext4.FS) {
		name := "0"
		for i := range 200 {
			mkdir(t, fs, name, meta(0o755))
			file(t, fs, name+"/f", "x", meta(0o644))
			name += fmt.Sprintf("/%d", i)
		}
	},
	"sparse": func(t *testing.T, fs *ext4.FS) {
		f, err := fs.Create("hole", false)
		must(t, err)
		must(t, f.Skip(1<<40))
		must(t, f.Close(meta(0o600)))
		f, err = fs.Create("data", false)
		must(t, err)
		for range 2000 { // two levels of extents
			must(t, f.Skip(1<<29+1000))
			_, err = f.Write([]byte("data"))
			must(t, err)
		}
		must(t, f.Skip(100))
		must(t, f.Close(meta(0o600)))
		f, err = fs.Create("zeros", true)
		must(t, err)
		for i := range 100 {
			_, err = f.Write(append(make([]byte, 10000), byte(i%2)))
			must(t, err)
		}
		must(t, f.Close(meta(0o600)))
	},
	"names": func(t *testing.T, fs *ext4.FS) {
		for _, n := range []string{"\xff\xfe", "a\nb", " ", "\\", strings.Repeat("\x80", 255), "ü", "u\u0308", "caf\xe9"} {
			file(t, fs, n, n, meta(0o644))
		}
		mkdir(t, fs, "d", meta(0o755))
		for i := range 256 {
			if i != 0 && i != '/' {
				for j := 1; j < 50; j += 7 {
					file(t, fs, "d/"+strings.Repeat(string([]byte{byte(i)}), j)+"x", "", meta(0o644))
				}
			}
		}
	},
	"fuzz": func(t *testing.T, fs *ext4.FS) {
		for seed := range uint64(3) {
			fuzz(t, fs, rand.New(rand.NewPCG(seed, 1)), 300)
			must(t, fs.Sync())
		}
	},
}

// fuzz changes the tree at random.
func fuzz(t *testing.T, fs *ext4.FS, r *rand.Rand, steps int) {
	var dirs, files []string
	must(t, fs.Walk(func(name string, i ext4.Info) error {
		switch i.Type {
		case unix.S_IFDIR:
			dirs = append(dirs, name)
		case unix.S_IFREG:
			files = append(files, name)
		}
		return nil
	}))
	exists := func(name string) bool { _, err := fs.Stat(name); return err == nil }
	for range steps {
		in := dirs[r.IntN(len(dirs))]
		if !exists(in) {
			continue
		}
		name := filepath.Join(in, strings.Repeat("n", r.IntN(40))+fmt.Sprint(r.IntN(200)))
		m := ext4.Meta{Mode: r.Uint32N(0o10000), UID: r.IntN(1 << 17), ModTime: epoch.Add(time.Duration(r.IntN(1 << 40))), Xattrs: map[string]string{}}
		for range r.IntN(3) {
			m.Xattrs["security."+string(rune('a'+r.IntN(26)))] = text(r.IntN(80)*r.IntN(80), r.Uint64())
		}
		i, err := fs.Stat(name)
		isDir := err == nil && i.Type == unix.S_IFDIR
		switch k := r.IntN(12); {
		case k == 0 && in != ".":
			must(t, fs.Remove(in))
		case k <= 2:
			if err == nil && !isDir {
				must(t, fs.Remove(name))
			}
			mkdir(t, fs, name, m)
			dirs = append(dirs, name)
		case isDir:
			must(t, fs.SetMeta(name, m))
		case k == 3:
			must(t, fs.Symlink(name, text(r.IntN(100)+1, 3), m))
		case k == 4:
			must(t, fs.Mknod(name, unix.S_IFIFO, 0, 0, m))
		case k == 5 && len(files) > 0:
			if old := files[r.IntN(len(files))]; exists(old) && old != name {
				if i, _ := fs.Stat(old); i.Type == unix.S_IFREG {
					must(t, fs.Link(name, old))
				}
			}
		default:
			f, err := fs.Create(name, r.IntN(2) == 0)
			must(t, err)
			for range r.IntN(6) {
				if r.IntN(3) == 0 {
					must(t, f.Skip(int64(r.IntN(20000))))
				} else {
					_, err = f.Write(bytes.Repeat([]byte{byte(r.IntN(3))}, r.IntN(20000)))
					must(t, err)
				}
			}
			must(t, f.Close(m))
			files = append(files, name)
		}
	}
}
