package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"osbuild-containers/test/images"
)

// applets are the names under which the toolbox is linked into the image.
var applets = []string{
	"cat", "echo", "env", "false", "hostname", "ls", "mkdir", "pwd",
	"rm", "sh", "sha256sum", "sleep", "true", "uname", "wc",
}

// buildImage makes the toolbox image for two architectures. The layers with /etc
// and the links are the same in both.
func buildImage() (list *images.List, amd64, arm64 *images.Image, err error) {
	dir, err := os.MkdirTemp("", "demo-")
	if err != nil {
		return nil, nil, nil, err
	}
	defer os.RemoveAll(dir)
	one := func(arch string, more ...images.Option) (*images.Image, error) {
		program, err := compile(dir, arch)
		if err != nil {
			return nil, err
		}
		opts := append([]images.Option{
			images.Arch(arch),
			images.Files(etc()...),
			images.Files(images.File{Name: "bin/toolbox", Data: program, Mode: 0o755}),
			images.Files(links()...),
			images.Config(map[string]any{
				"Cmd": []string{"/bin/sh"}, "Env": []string{"PATH=/bin"}, "WorkingDir": "/root",
			}),
		}, more...)
		return images.New(opts...), nil
	}
	if amd64, err = one("amd64"); err != nil {
		return nil, nil, nil, err
	}
	if arm64, err = one("arm64", images.Variant("v8")); err != nil {
		return nil, nil, nil, err
	}
	return images.NewList(images.Of(amd64, arm64)), amd64, arm64, nil
}

func compile(dir, arch string) ([]byte, error) {
	out := filepath.Join(dir, "toolbox-"+arch)
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out, "./test/demo/toolbox")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile the toolbox for %s: %w\n%s", arch, err, text)
	}
	return os.ReadFile(out)
}

func etc() []images.File {
	return []images.File{
		{Name: "etc/"},
		{Name: "etc/passwd", Data: []byte("root:x:0:0:root:/root:/bin/sh\n")},
		{Name: "etc/group", Data: []byte("root:x:0:\n")},
		{Name: "etc/hosts", Data: []byte("127.0.0.1 localhost\n::1 localhost\n")},
		{Name: "etc/os-release", Data: []byte("ID=toolbox\nNAME=\"Toolbox\"\nVERSION_ID=1\n")},
		{Name: "root/", Mode: 0o700},
		{Name: "tmp/", Mode: 0o1777},
		{Name: "usr/"},
		{Name: "usr/bin", Link: "../bin"},
	}
}

func links() []images.File {
	files := []images.File{{Name: "bin/"}}
	for _, name := range applets {
		files = append(files, images.File{Name: "bin/" + name, Link: "toolbox"})
	}
	return files
}
