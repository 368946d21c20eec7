package ext4_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/ext4"
)

// A checker must find nothing, whatever the tree is.
func TestFsckFindsNothing(t *testing.T) {
	t.Parallel()
	for name, fill := range trees {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tool(t, "e2fsck")
			for _, size := range []int64{64 << 20, 700<<20 + 12345} {
				check(t, image(t, options(size), func(fs *ext4.FS) { fill(t, fs) }))
			}
		})
	}
}

// The layout must be right for devices of all sizes, the copies of the superblock too.
func TestSizes(t *testing.T) {
	t.Parallel()
	tool(t, "e2fsck")
	const group = 128 << 20
	for _, tt := range []struct {
		size   int64
		inodes int
	}{
		{size: 16 << 20},
		{size: group - 4096},
		{size: group + 4096}, // the last group is too small
		{size: group + 40<<20},
		{size: 16 * group},
		{size: 17*group + 30<<20},
		{size: 100 << 30},
		{size: 3 << 40, inodes: 1},
		{size: 5 << 30, inodes: 1 << 20}, // the tables fill more than a group
	} {
		opt := options(tt.size)
		opt.Inodes = tt.inodes
		path := image(t, opt, func(fs *ext4.FS) {
			file(t, fs, "f", "hello", meta(0o600))
			f, err := fs.Create("large", false) // of many groups, with the copies of the superblock between its parts
			must(t, err)
			for n := int64(0); opt.Size == 16*group && n < 3*opt.Size/4; n += 1 << 20 {
				_, err := f.Write(make([]byte, 1<<20))
				must(t, err)
			}
			must(t, f.Close(meta(0o600)))
		})
		if tt.size > 1<<40 {
			out := do(t, "dumpe2fs", "-h", path) // a whole check takes too long
			if !strings.Contains(out, "Filesystem state:         clean") {
				t.Errorf("%d bytes: %s", tt.size, out)
			}
			continue
		}
		check(t, path)
		if tt.size > 2*group {
			if out := do(t, "dumpe2fs", "-h", "-o", "superblock=32768", "-o", "blocksize=4096", path); !strings.Contains(out, "Filesystem state:         clean\n") {
				t.Errorf("%d bytes: the copy of the superblock: %s", tt.size, out)
			}
		}
		var st unix.Stat_t
		must(t, unix.Stat(path, &st))
		if st.Blocks*512 > 3<<20+tt.size/1024 {
			t.Errorf("%d bytes: the image takes %d bytes", tt.size, st.Blocks*512)
		}
	}
}

// The file system looks like one of mke2fs.
func TestDumpe2fs(t *testing.T) {
	t.Parallel()
	out := do(t, "dumpe2fs", image(t, options(512<<20), func(*ext4.FS) {}))
	for _, want := range []string{
		"Filesystem volume name:   test\n",
		"Filesystem UUID:          01020304-0506-0708-090a-0b0c0d0e0f10\n",
		"Filesystem features:      has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg sparse_super large_file huge_file dir_nlink extra_isize metadata_csum\n",
		"Default mount options:    user_xattr acl\n",
		"Filesystem state:         clean\n",
		"Block size:               4096\n",
		"Inode size:	          256\n",
		"Journal inode:            8\n",
		"Total journal size:       16M\n",
		"Reserved GDT blocks:      ",
		"Flex block group size:    16\n",
		"Maximum mount count:      -1\n",
		"Directory Hash Seed:      2a000000-0000-00c8-0000-000000000009\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
}

// memory is a device in memory.
type memory struct{ p []byte }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.p).ReadAt(p, off)
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) { return copy(m.p[off:], p), nil }

// newFS makes a file system in memory.
func newFS(t *testing.T, opt ext4.Options) (*ext4.FS, *memory) {
	t.Helper()
	m := &memory{make([]byte, opt.Size)}
	fs, err := ext4.New(m, opt)
	must(t, err)
	return fs, m
}

// The same calls give the same bytes.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	for name, fill := range trees {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var images [2]*memory
			for i := range images {
				var fs *ext4.FS
				fs, images[i] = newFS(t, options(64<<20))
				fill(t, fs)
				must(t, fs.Sync())
			}
			if !bytes.Equal(images[0].p, images[1].p) {
				t.Error("the images differ")
			}
		})
	}
}

// What is read is what was written, also in the place of other content, and equal blocks of
// that are not written again.
func TestContent(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	f, _ := newFS(t, options(64<<20))
	for range 100 {
		name := fmt.Sprint(r.IntN(4))
		sparse := r.IntN(2) == 0
		w, err := f.Create(name, sparse)
		must(t, err)
		var want []byte
		for range r.IntN(8) {
			if n := r.IntN(30000); r.IntN(3) == 0 {
				must(t, w.Skip(int64(n)))
				want = append(want, make([]byte, n)...)
			} else {
				p := make([]byte, n)
				for i := range p {
					p[i] = byte((len(want) + i) / 4096 % (1 + r.IntN(2)/2) * r.IntN(2))
				}
				if r.IntN(2) == 0 {
					p = bytes.Repeat([]byte{byte(r.IntN(2))}, n)
				}
				want = append(want, p...)
				for len(p) > 0 {
					n := min(len(p), 1+r.IntN(9000))
					_, err := w.Write(p[:n])
					must(t, err)
					p = p[n:]
				}
			}
		}
		if r.IntN(10) == 0 {
			w.Abort()
			continue
		}
		must(t, w.Close(meta(0o644)))
		if r.IntN(4) == 0 {
			must(t, f.Sync())
		}
		got, err := f.Open(name)
		must(t, err)
		p, err := io.ReadAll(got)
		must(t, err)
		if !bytes.Equal(p, want) {
			t.Fatalf("%s: %d bytes that differ from the %d written", name, len(p), len(want))
		}
	}
}

// What Measure says is enough, and a smaller file system says the same.
func TestFull(t *testing.T) {
	t.Parallel()
	for name, fill := range trees {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := ext4.Measure()
			fill(t, m)
			must(t, m.Sync())
			size, inodes := m.Needed()

			opt := options(size)
			opt.Inodes = inodes
			path := image(t, opt, func(fs *ext4.FS) { fill(t, fs) })
			check(t, path)

			opt.Size = 10 << 20
			opt.Inodes = 0
			fs, _ := newFS(t, opt)
			fill2 := fill
			if name == "fuzz" { // which syncs
				fill2 = func(t *testing.T, fs *ext4.FS) { file(t, fs, "f", text(20<<20, 1), meta(0o600)) }
			}
			fill2(t, fs)
			err := fs.Sync()
			var full *ext4.FullError
			if err == nil {
				return
			}
			if !errors.As(err, &full) {
				t.Fatal(err)
			}
			opt.Size, opt.Inodes = full.Needed, full.NeededInodes
			check(t, image(t, opt, func(fs *ext4.FS) { fill2(t, fs) }))
		})
	}
}

func TestTooSmall(t *testing.T) {
	t.Parallel()
	var full *ext4.FullError
	_, err := ext4.New(nil, options(1<<20))
	if !errors.As(err, &full) {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("the file system of 1048576 bytes is full: %d bytes are needed", full.Needed); err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	image(t, options(full.Needed), func(*ext4.FS) {})
}

// All space that is said to be free can be used, by the writer and by the kernel.
func TestFreeSpace(t *testing.T) {
	t.Parallel()
	path := image(t, options(64<<20), func(fs *ext4.FS) {
		file(t, fs, "first", text(20<<20, 1), meta(0o600))
		file(t, fs, "second", text(20<<20, 2), meta(0o600))
		must(t, fs.Sync())
		must(t, fs.Remove("first"))
		must(t, fs.Sync())
		zeros := strings.Repeat("\x00", 30<<20)
		file(t, fs, "third", zeros, meta(0o600)) // from the end on and where the first was
		third, err := fs.Open("third")
		must(t, err)
		got, err := io.ReadAll(third)
		must(t, err)
		if string(got) != zeros {
			t.Error("what was removed is read in another file")
		}
	})
	check(t, path)
	dir, unmount := mounted(t, path, "rw")
	var st unix.Statfs_t
	must(t, unix.Statfs(dir, &st))
	must(t, os.WriteFile(dir+"/rest", make([]byte, int64(st.Bavail-10)*st.Bsize), 0o600))
	must(t, os.Remove(dir+"/second"))
	must(t, os.WriteFile(dir+"/again", make([]byte, 19<<20), 0o600))
	unmount()
	check(t, path)
}

// Names that were removed can be made again before Sync, in any way.
func TestAgain(t *testing.T) {
	t.Parallel()
	path := image(t, options(64<<20), func(fs *ext4.FS) {
		fill := func() {
			for _, d := range []string{"a", "a/b", "c", "lost+found/x"} {
				mkdir(t, fs, d, meta(0o755))
			}
			file(t, fs, "a/b/f", "x", meta(0o644))
			must(t, fs.Link("c/f", "a/b/f"))
			must(t, fs.Link("f", "c/f"))
			must(t, fs.Symlink("a/l", "f", meta(0)))
			file(t, fs, "a/g", text(10000, 1), meta(0o644))
		}
		for _, again := range []func(){
			func() {},
			func() { must(t, fs.Remove("c/f")); must(t, fs.Link("c/f", "f")) },
			func() { must(t, fs.Remove("a")); fill() },
			func() { must(t, fs.Remove("a")); file(t, fs, "a", "x", meta(0o644)) },
			func() { must(t, fs.Remove("a")); fill() },
			func() {
				must(t, fs.Remove("a/g"))
				mkdir(t, fs, "a/g", meta(0o755))
				mkdir(t, fs, "a/g/h", meta(0o755))
			},
			func() { must(t, fs.Remove("a/g")); must(t, fs.Symlink("a/g", "x", meta(0))) },
			func() { must(t, fs.Symlink("a/b/f", "x", meta(0))); file(t, fs, "a/l", "x", meta(0o644)) },
			func() { must(t, fs.Remove("lost+found")); must(t, fs.Remove("c")); fill(); must(t, fs.Remove("c")) },
			func() {
				must(t, fs.Link("a/g", "a/b/f"))
				must(t, fs.Link("a/g", "a/b/f"))
				must(t, fs.Remove("a/b/f"))
			},
		} {
			if _, err := fs.Stat("f"); err != nil {
				fill()
			}
			again()
			must(t, fs.Sync())
		}
	})
	check(t, path)
}

// What cannot be is an error that says why, and changes nothing.
func TestErrors(t *testing.T) {
	t.Parallel()
	f, _ := newFS(t, options(64<<20))
	mkdir(t, f, "d", meta(0o755))
	file(t, f, "f", "x", meta(0o644))
	must(t, f.Symlink("l", "d", meta(0)))
	create := func(name string, m ext4.Meta) error {
		w, err := f.Create(name, false)
		if err != nil {
			return err
		}
		return w.Close(m)
	}
	attr := func(name, value string) ext4.Meta { return ext4.Meta{Xattrs: map[string]string{name: value}} }
	mk := func(name string) error { _, err := f.Mkdir(name); return err }
	stat := func(name string) error { _, err := f.Stat(name); return err }
	for want, err := range map[string]error{
		`create "d": is a directory`:                                                                         create("d", meta(0)),
		`create "f/x": not a directory`:                                                                      create("f/x", meta(0)),
		`create "l/x": not a directory`:                                                                      create("l/x", meta(0)),
		`create "no/x": file does not exist`:                                                                 create("no/x", meta(0)),
		`create "d//b": ` + ext4.ErrName.Error():                                                             create("d//b", meta(0)),
		`create "..": ` + ext4.ErrName.Error():                                                               create("..", meta(0)),
		`create ".": ` + ext4.ErrName.Error():                                                                create(".", meta(0)),
		`create "/x": ` + ext4.ErrName.Error():                                                               create("/x", meta(0)),
		`create "x\x00": ` + ext4.ErrName.Error():                                                            create("x\x00", meta(0)),
		`make directory "` + strings.Repeat("n", 256) + `": ` + ext4.ErrName.Error():                         mk(strings.Repeat("n", 256)),
		`make directory "f": not a directory`:                                                                mk("f"),
		`look up "no": file does not exist`:                                                                  stat("no"),
		`hard link to "d": is a directory`:                                                                   f.Link("x", "d"),
		`hard link to "no": file does not exist`:                                                             f.Link("x", "no"),
		`make symbolic link "x": invalid target ""`:                                                          f.Symlink("x", "", meta(0)),
		`make symbolic link "lost+found": is a directory`:                                                    f.Symlink("lost+found", "x", meta(0)),
		`make device, fifo or socket "x": invalid device number 4096:0`:                                      f.Mknod("x", unix.S_IFCHR, 4096, 0, meta(0)),
		`make device, fifo or socket "x": invalid type 0100000`:                                              f.Mknod("x", unix.S_IFREG, 0, 0, meta(0)),
		`set metadata of "l": attribute "user.x": links, devices, fifos and sockets have no user attributes`: f.SetMeta("l", attr("user.x", "y")),
		`set metadata of "f": attribute "system.x": ext4 has no attribute of this name`:                      f.SetMeta("f", attr("system.x", "y")),
		`set metadata of "f": attribute "user.": ext4 has no attribute of this name`:                         f.SetMeta("f", attr("user.", "y")),
		`set metadata of "f": attribute "system.posix_acl_access": invalid ACL`:                              f.SetMeta("f", attr("system.posix_acl_access", acl(5)+"x")),
		`set metadata of "f": attribute "system.posix_acl_default": such a node has no ACL of this kind`:     f.SetMeta("f", attr("system.posix_acl_default", acl(5))),
		`set metadata of "f": attribute "user.x": its value has 65537 bytes, at most 65536 are possible`:     f.SetMeta("f", attr("user.x", text(65537, 1))),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := stat("no"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not that of io/fs", err)
	}
	w, err := f.Create("large", false)
	must(t, err)
	if err := w.Skip(1 << 44); !errors.Is(err, ext4.ErrTooLarge) {
		t.Errorf("%v, want %v", err, ext4.ErrTooLarge)
	}
	w.Abort()
	must(t, f.Remove("no/such"))
	must(t, f.Remove("lost+found")) // which is only emptied
	must(t, stat("lost+found"))
}

// An error of the device is returned, and there is no panic.
func TestDeviceErrors(t *testing.T) {
	t.Parallel()
	fault := errors.New("a fault")
	fs, err := ext4.New(broken{fault}, options(64<<20))
	must(t, err)
	trees["all types"](t, fs)
	if err := fs.Sync(); !errors.Is(err, fault) {
		t.Errorf("%v, want %v", err, fault)
	}
}

type broken struct{ err error }

func (b broken) ReadAt([]byte, int64) (int, error)  { return 0, b.err }
func (b broken) WriteAt([]byte, int64) (int, error) { return 0, b.err }

// debugfs, which needs no root, reads content and attributes as they were given.
func TestDebugfs(t *testing.T) {
	t.Parallel()
	path := image(t, options(64<<20), func(fs *ext4.FS) {
		trees["all types"](t, fs)
		trees["attributes"](t, fs)
		trees["many names"](t, fs)
	})
	for command, want := range map[string]string{
		"cat d/f":                            "hello",
		"cat d/big":                          text(3<<20, 1),
		"ea_get -V block user.a":             text(4000, 1),
		"ea_get -V large user.b":             text(64<<10, 2),
		"ea_get -V selinux security.selinux": "system_u:object_r:etc_t:s0\x00",
		"htree_dump many":                    "Hash Version: 1",
		"stat many/file-9999":                "Type: regular",
		"stat d/disk":                        "259:70000",
		"stat d/long":                        "Type: symlink",
	} {
		out := do(t, "debugfs", "-R", command, path)
		if !strings.Contains(out, want) {
			t.Errorf("%s: %.300q, want %.300q", command, out, want)
		}
	}
}
