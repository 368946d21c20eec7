package qcow2_test

import (
	"fmt"
	"os"
	"path/filepath"

	"osbuild-containers/internal/qcow2"
)

// An image contains only what differs from its backing image.
func Example() {
	dir, err := os.MkdirTemp("", "qcow2-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	open := func(name string, opt qcow2.Options) *qcow2.Image {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			panic(err)
		}
		image, err := qcow2.Create(f, opt)
		if err != nil {
			panic(err)
		}
		return image
	}

	base := open("base.qcow2", qcow2.Options{Size: 1 << 30})
	_, err = base.WriteAt([]byte("hello, world"), 1<<20)
	fmt.Println(base.Close(), err, base.Clusters())

	top := open("top.qcow2", qcow2.Options{
		Size: 1 << 30, Backing: base, BackingName: "base.qcow2", BackingFormat: "qcow2",
	})
	_, err = top.WriteAt([]byte("H"), 1<<20)
	fmt.Println(top.Close(), err, top.Clusters())

	p := make([]byte, 12)
	_, err = top.ReadAt(p, 1<<20)
	fmt.Printf("%s %v\n", p, err)
	// Output:
	// <nil> <nil> 1
	// <nil> <nil> 1
	// Hello, world <nil>
}
