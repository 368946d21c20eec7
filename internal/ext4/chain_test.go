package ext4_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/ext4"
	"osbuild-containers/internal/qcow2"
)

// chain makes an image for each change, each backed by the one before, and returns their names and
// how many clusters of data each has.
func chain(t *testing.T, opt ext4.Options, changes ...func(*ext4.FS)) (paths []string, clusters []int64) {
	t.Helper()
	dir := t.TempDir()
	var fs *ext4.FS
	var below *qcow2.Image
	for i, change := range changes {
		path := filepath.Join(dir, fmt.Sprintf("layer-%d.qcow2", i))
		f, err := os.Create(path)
		must(t, err)
		t.Cleanup(func() { _ = f.Close() })
		o := qcow2.Options{Size: opt.Size}
		if below != nil {
			o.Backing, o.BackingName, o.BackingFormat = below, fmt.Sprintf("layer-%d.qcow2", i-1), "qcow2"
		}
		m, err := qcow2.Create(f, o)
		must(t, err)
		if fs == nil {
			fs, err = ext4.New(m, opt)
			must(t, err)
		} else {
			fs.SetDevice(m)
		}
		change(fs)
		must(t, fs.Sync())
		must(t, m.Close())
		below = m
		paths, clusters = append(paths, path), append(clusters, m.Clusters())
	}
	return paths, clusters
}

// flat returns the content of an image of a chain as a raw image.
func flat(t *testing.T, path string) string {
	t.Helper()
	raw := path + ".raw"
	do(t, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, raw)
	return raw
}

// A small change differs in few clusters, wherever it is in a large tree.
func TestFewClustersDiffer(t *testing.T) {
	t.Parallel()
	big := text(3<<20, 5)
	name := func(i int) string { return fmt.Sprintf("usr/%d/%d/%d", i%7, i%70, i) }
	base := func(fs *ext4.FS) {
		mkdir(t, fs, "usr", meta(0o755))
		for i := range 7 {
			mkdir(t, fs, fmt.Sprintf("usr/%d", i), meta(0o755))
		}
		for i := range 70 {
			mkdir(t, fs, fmt.Sprintf("usr/%d/%d", i%7, i), meta(0o755))
		}
		for i := range 3000 {
			file(t, fs, name(i), text(100+i*5, uint64(i)), meta(0o644))
		}
		must(t, fs.Symlink("usr/long", strings.Repeat("x", 100), meta(0)))
		large := meta(0o644)
		large.Xattrs = map[string]string{"user.x": text(10000, 1), "user.y": text(2000, 2)}
		file(t, fs, "usr/big", big, large)
		f, err := fs.Create("usr/holes", false)
		must(t, err)
		for range 10 { // more extents than fit into an inode
			_, err = f.Write([]byte("data"))
			must(t, err)
			must(t, f.Skip(20000))
		}
		must(t, f.Close(meta(0o644)))
	}
	for what, tt := range map[string]struct {
		change func(*ext4.FS)
		most   int64 // superblock and descriptors, block bitmaps, inode bitmaps, inode tables of directories and others, and data
	}{
		"nothing":         {func(*ext4.FS) {}, 0},
		"same metadata":   {func(fs *ext4.FS) { must(t, fs.SetMeta(name(9), meta(0o644))) }, 0},
		"same content":    {func(fs *ext4.FS) { file(t, fs, name(3), text(115, 3), meta(0o644)) }, 0},
		"remove and make": {func(fs *ext4.FS) { must(t, fs.Remove(name(3))); file(t, fs, name(3), text(115, 3), meta(0o644)) }, 0},
		"all the same":    {base, 0},
		"tree again":      {func(fs *ext4.FS) { must(t, fs.Remove("usr")); base(fs) }, 0},
		"metadata":        {func(fs *ext4.FS) { must(t, fs.SetMeta(name(9), meta(0o600))) }, 1},
		"owner of a file of 3 MiB": {func(fs *ext4.FS) {
			file(t, fs, "usr/big", big, ext4.Meta{UID: 5, Mode: 0o644})
		}, 4}, // its attributes are gone
		"end of a file of 3 MiB":   {func(fs *ext4.FS) { file(t, fs, "usr/big", big+"x", meta(0o644)) }, 5},
		"a file in a file's place": {func(fs *ext4.FS) { file(t, fs, name(100), "other", meta(0o644)) }, 4},
		"a new file":               {func(fs *ext4.FS) { file(t, fs, "usr/3/new", "new", meta(0o644)) }, 7},
		"70 new files": {func(fs *ext4.FS) {
			for i := range 70 {
				file(t, fs, fmt.Sprintf("usr/%d/%d/new", i%7, i), "new", meta(0o644))
			}
		}, 7 + 140*4/64},
		"other owners": {func(fs *ext4.FS) {
			must(t, fs.Walk(func(name string, i ext4.Info) error {
				i.UID += 100000
				return fs.SetMeta(name, i.Meta)
			}))
		}, 15}, // the inode tables
		"remove a file": {func(fs *ext4.FS) { must(t, fs.Remove(name(2000))) }, 6},
		"remove all":    {func(fs *ext4.FS) { must(t, fs.Remove("usr")) }, 17},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			paths, clusters := chain(t, options(256<<20), base, tt.change)
			if got := clusters[1]; got > tt.most {
				t.Errorf("%d clusters differ, want at most %d", got, tt.most)
			}
			check(t, flat(t, paths[1]))
		})
	}
}

// Each image of a chain is a file system of its own, whatever the changes are.
func TestChainOfChanges(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 6))
	var changes []func(*ext4.FS)
	for range 8 {
		changes = append(changes, func(fs *ext4.FS) { fuzz(t, fs, r, 400) })
	}
	paths, _ := chain(t, options(64<<20), changes...)
	for _, p := range paths {
		if out := do(t, "qemu-img", "check", p); !strings.Contains(out, "No errors") {
			t.Errorf("%s: %s", p, out)
		}
		check(t, flat(t, p))
	}
}

// The kernel sees the tree of the last changes, and none that was removed.
func TestKernelSeesTheLastTree(t *testing.T) {
	t.Parallel()
	var fs *ext4.FS
	r := rand.New(rand.NewPCG(7, 8))
	path := image(t, options(64<<20), func(f *ext4.FS) {
		fs = f
		for range 6 {
			fuzz(t, fs, r, 300)
			must(t, fs.Sync())
		}
		must(t, fs.Mknod("last", unix.S_IFIFO, 0, 0, meta(0o600)))
	})
	check(t, path)
	dir, unmount := mounted(t, path, "ro")
	compare(t, fs, path, dir)
	unmount()
}
