package ext4_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"osbuild-containers/internal/ext4"
	"osbuild-containers/internal/qcow2"
)

// A tree is written to an image that is as large as it must be, by doing all twice.
func Example() {
	fill := func(fs *ext4.FS) error {
		when := time.Unix(1700000000, 0)
		if _, err := fs.Mkdir("etc"); err != nil {
			return err
		}
		if err := fs.SetMeta("etc", ext4.Meta{Mode: 0o755, ModTime: when}); err != nil {
			return err
		}
		f, err := fs.Create("etc/hostname", false)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(f, "example\n"); err != nil {
			f.Abort()
			return err
		}
		if err := f.Close(ext4.Meta{Mode: 0o644, ModTime: when}); err != nil {
			return err
		}
		return fs.Symlink("hostname", "etc/hostname", ext4.Meta{ModTime: when})
	}
	example(func(dir string) error {
		measured := ext4.Measure()
		if err := fill(measured); err != nil {
			return err
		}
		if err := measured.Sync(); err != nil {
			return err
		}
		size, inodes := measured.Needed()

		f, err := os.Create(filepath.Join(dir, "image"))
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Truncate(size); err != nil {
			return err
		}
		fs, err := ext4.New(f, ext4.Options{Size: size, Inodes: inodes, Time: time.Unix(1700000000, 0)})
		if err != nil {
			return err
		}
		if err := fill(fs); err != nil {
			return err
		}
		if err := fs.Sync(); err != nil {
			return err
		}
		i, err := fs.Stat("hostname")
		fmt.Println(i.Target, err)
		return nil
	})
	// Output: etc/hostname <nil>
}

// Each image of a chain has what differs from the one below.
func ExampleFS_SetDevice() {
	const size = 64 << 20
	example(func(dir string) error {
		var fs *ext4.FS
		var below *qcow2.Image
		for i, content := range []string{"first", "second", "third"} {
			name := fmt.Sprintf("layer-%d.qcow2", i)
			f, err := os.Create(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			defer f.Close()
			opt := qcow2.Options{Size: size}
			if below != nil {
				opt.Backing, opt.BackingName, opt.BackingFormat = below, fmt.Sprintf("layer-%d.qcow2", i-1), "qcow2"
			}
			image, err := qcow2.Create(f, opt)
			if err != nil {
				return err
			}
			if fs == nil {
				fs, err = ext4.New(image, ext4.Options{Size: size})
			} else {
				fs.SetDevice(image)
			}
			if err != nil {
				return err
			}
			w, err := fs.Create("file", false)
			if err != nil {
				return err
			}
			if _, err := io.WriteString(w, content); err != nil {
				return err
			}
			if err := w.Close(ext4.Meta{Mode: 0o644}); err != nil {
				return err
			}
			if err := fs.Sync(); err != nil {
				return err
			}
			if err := image.Close(); err != nil {
				return err
			}
			below = image
			fmt.Printf("%s has %d clusters\n", name, image.Clusters())
		}
		return nil
	})
	// Output:
	// layer-0.qcow2 has 6 clusters
	// layer-1.qcow2 has 4 clusters
	// layer-2.qcow2 has 4 clusters
}

// example runs an example in a directory of its own.
func example(f func(dir string) error) {
	dir, err := os.MkdirTemp("", "ext4-example-")
	if err == nil {
		err = f(dir)
		_ = os.RemoveAll(dir)
	}
	if err != nil {
		fmt.Println(err)
	}
}
