package ext4_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/ext4"
)

// The kernel must see what was given: names, metadata, attributes, content and holes.
func TestKernelSeesTheTree(t *testing.T) {
	t.Parallel()
	for name, fill := range trees {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var fs *ext4.FS
			path := image(t, options(200<<20), func(f *ext4.FS) { fs = f; fill(t, f) })
			dir, unmount := mounted(t, path, "ro")
			compare(t, fs, path, dir)
			unmount()
		})
	}
}

// compare compares a file system with what the kernel has in dir.
func compare(t *testing.T, fs *ext4.FS, path, dir string) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	fs.SetDevice(readOnly{f})
	want := map[string]bool{}
	must(t, fs.Walk(func(name string, i ext4.Info) error {
		want[name] = true
		at := filepath.Join(dir, name)
		var st unix.Stat_t
		if err := unix.Lstat(at, &st); err != nil {
			t.Errorf("%q: %v", name, err)
			return nil
		}
		got := i
		got.Type, got.Mode = st.Mode&unix.S_IFMT, st.Mode&^unix.S_IFMT
		got.UID, got.GID = int(st.Uid), int(st.Gid)
		got.ModTime = i.ModTime
		if st.Mtim.Nano() != i.ModTime.UnixNano() || st.Atim != st.Mtim || st.Ctim.Nano() != epoch.UnixNano() {
			t.Errorf("%q: times %v %v %v, want %v twice and %v", name, st.Mtim, st.Atim, st.Ctim, i.ModTime, epoch)
		}
		got.Size, got.Inode, got.Links = st.Size, uint32(st.Ino), uint32(st.Nlink)
		got.Major, got.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
		got.Target = ""
		if got.Type == unix.S_IFLNK {
			got.Target, err = os.Readlink(at)
			must(t, err)
		}
		got.Xattrs = kernelAttrs(t, at)
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", i) || !maps.Equal(got.Xattrs, i.Xattrs) {
			t.Errorf("%q: the kernel has\n%.1000q, want\n%.1000q", name, fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", i))
		}
		if got.Type == unix.S_IFREG && got.Size > 0 {
			compareContent(t, fs, name, at)
		}
		return nil
	}))
	must(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if name, _ := filepath.Rel(dir, path); !want[name] {
			t.Errorf("the kernel has %q, too", name)
		}
		return err
	}))
}

type readOnly struct{ io.ReaderAt }

func (readOnly) WriteAt([]byte, int64) (int, error) { return 0, errors.New("this is read-only") }

func kernelAttrs(t *testing.T, path string) map[string]string {
	t.Helper()
	buf := make([]byte, 128<<10)
	n, err := unix.Llistxattr(path, buf)
	must(t, err)
	if n == 0 {
		return nil
	}
	all := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		n, err := unix.Lgetxattr(path, name, buf)
		must(t, err)
		all[name] = string(buf[:n])
	}
	return all
}

// compareContent compares the data of a file, and that there is data where there should be.
func compareContent(t *testing.T, fs *ext4.FS, name, path string) {
	t.Helper()
	want, err := fs.Open(name)
	must(t, err)
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	var data int64
	for at := int64(0); ; {
		from, err := f.Seek(at, unix.SEEK_DATA)
		if err != nil {
			break
		}
		to, err := f.Seek(from, unix.SEEK_HOLE)
		must(t, err)
		a, b := make([]byte, to-from), make([]byte, to-from)
		_, err = f.ReadAt(a, from)
		must(t, err)
		_, err = want.ReadAt(b, from)
		must(t, err)
		if !bytes.Equal(a, b) {
			t.Errorf("%q differs within %d to %d", name, from, to)
		}
		data, at = data+to-from, to
	}
	if n := fs.DataOf(name); (data+4095)/4096*4096 != n {
		t.Errorf("%q: %d bytes of data, want %d", name, data, n)
	}
}

// Names of the same hash are found, also when a block ends between them.
func TestEqualHashes(t *testing.T) {
	t.Parallel()
	opt := options(64 << 20)
	const perBlock = 145 // entries of 28 bytes
	var less, pair []string
	var at uint32
	byHash := map[uint32]string{}
	for i := 0; pair == nil; i++ {
		name := fmt.Sprintf("%020d", i)
		h, _ := ext4.DirHash(opt.HashSeed, name)
		if other, ok := byHash[h]; ok && h > 1<<31 { // enough others have lesser hashes
			pair, at = []string{other, name}, h
		}
		byHash[h] = name
	}
	for i := 0; len(less) < 2*perBlock-1; i++ {
		name := fmt.Sprintf("%020d", i)
		if h, _ := ext4.DirHash(opt.HashSeed, name); h < at {
			less = append(less, name)
		}
	}
	path := image(t, opt, func(fs *ext4.FS) {
		mkdir(t, fs, "d", meta(0o755))
		for _, name := range append(less, pair...) {
			must(t, fs.Mknod("d/"+name, unix.S_IFIFO, 0, 0, meta(0o644)))
		}
	})
	check(t, path)
	dir, unmount := mounted(t, path, "ro")
	for _, name := range append(less, pair...) {
		if _, err := os.Lstat(filepath.Join(dir, "d", name)); err != nil {
			t.Error(err)
		}
	}
	unmount()
}

func capable(which uint) bool {
	data := [2]unix.CapUserData{}
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
	return err == nil && data[which/32].Effective&(1<<(which%32)) != 0
}

// A file system can be written to, and grown, as one of mke2fs.
func TestResize(t *testing.T) {
	t.Parallel()
	for _, online := range []bool{false, true} {
		t.Run(fmt.Sprintf("online %v", online), func(t *testing.T) {
			t.Parallel()
			resize := tool(t, "resize2fs")
			path := image(t, options(100<<20), func(fs *ext4.FS) {
				trees["all types"](t, fs)
				trees["attributes"](t, fs)
				trees["many names"](t, fs)
			})
			const size = 16 << 30 // groups are added, and blocks of descriptors
			must(t, os.Truncate(path, size))
			if !online {
				do(t, resize, path)
				check(t, path)
			}
			dir, unmount := mounted(t, path, "rw")
			if online && !capable(unix.CAP_SYS_RESOURCE) {
				t.Skip("the kernel lets only CAP_SYS_RESOURCE resize what is mounted")
			}
			if online {
				do(t, resize, strings.TrimSpace(do(t, "findmnt", "-no", "SOURCE", dir)))
			}
			for i := range 3000 {
				must(t, os.WriteFile(fmt.Sprintf("%s/many/new-%d", dir, i), []byte("x"), 0o644))
				must(t, os.Remove(fmt.Sprintf("%s/many/file-%d", dir, 2*i)))
			}
			must(t, os.WriteFile(dir+"/big", make([]byte, 200<<20), 0o644))
			must(t, unix.Setxattr(dir+"/large", "user.b", []byte(text(60000, 9)), 0))
			must(t, unix.Removexattr(dir+"/large", "user.a"))
			must(t, os.Remove(dir+"/many/../block"))
			must(t, os.RemoveAll(dir+"/long"))
			var st unix.Statfs_t
			must(t, unix.Statfs(dir, &st))
			if free := int64(st.Bfree) * st.Bsize; free < size*8/10 {
				t.Errorf("%d bytes are free of %d", free, int64(size))
			}
			unmount()
			check(t, path)
		})
	}
}
