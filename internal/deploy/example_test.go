package deploy_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/deploy"
	"osbuild-containers/internal/progress"
)

// ExampleDeploy merges two layers, of which the higher one removes a file of the lower.
func ExampleDeploy() {
	tree, err := os.MkdirTemp("", "tree")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(tree)
	layers := []deploy.Layer{layerOf("etc/motd", "etc/old", "usr/share/doc/x"), layerOf("etc/.wh.old", "etc/new")}
	opt := deploy.Options{Exclude: []string{"usr/share/doc"}, IgnoreOwners: true}
	if err := deploy.Deploy(context.Background(), tree, layers, opt, progress.NewLog(io.Discard)); err != nil {
		fmt.Println(err)
		return
	}
	for _, dir := range []string{"etc", "usr/share"} {
		entries, err := os.ReadDir(tree + "/" + dir)
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, e := range entries {
			fmt.Println(dir + "/" + e.Name())
		}
	}
	// Output:
	// etc/motd
	// etc/new
}

// layerOf returns a layer of empty files.
func layerOf(names ...string) deploy.Layer {
	archive := new(bytes.Buffer)
	w := tar.NewWriter(archive)
	for _, name := range names {
		_ = w.WriteHeader(&tar.Header{Name: name, Mode: 0o644}) // a buffer takes all
	}
	_ = w.Close()
	data := archive.Bytes()
	return deploy.Layer{
		Digest: digest.FromBytes(data), DiffID: digest.FromBytes(data), Size: int64(len(data)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
	}
}
