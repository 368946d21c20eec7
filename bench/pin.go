package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// pinImages is how many images are pinned, each for two architectures.
const pinImages = 20

// pin measures resolving the digests of images. Peers are called once or twice for each image and architecture. The
// registry and its small images are made for this.
func (b *bench) pin() error {
	ours, err := b.ourTool()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-pin-") // not in the scratch directory, which is emptied
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	reg, err := registry.Run(dir)
	if err != nil {
		return err
	}
	defer reg.Close()
	refs := make([]string, pinImages)
	for n := range refs {
		name := fmt.Sprintf("bench/pin%d:latest", n)
		refs[n] = reg.Addr + "/" + name
		list := images.NewList(images.Of(
			images.New(images.Seed(uint64(n)), images.Layer(1000)),
			images.New(images.Seed(uint64(n)), images.Layer(1000), images.Arch("arm64")),
		))
		if err := images.Push(list, reg.URL, name); err != nil {
			return err
		}
	}
	conf := filepath.Join(dir, "registries.conf")
	if err := os.WriteFile(conf, []byte("[[registry]]\nlocation = \""+reg.Addr+"\"\ninsecure = true\n"), 0o644); err != nil {
		return err
	}
	each := func(line string) string {
		var lines []string
		for _, ref := range refs {
			for _, arch := range []string{"amd64", "arm64"} {
				lines = append(lines, strings.NewReplacer("ARCH", arch, "REF", ref).Replace(line))
			}
		}
		return strings.Join(lines, "\n")
	}
	const atOnce = " | xargs -P 8 -I LINE sh -c LINE"
	tools := []tool{
		{name: "**ours**", line: "CONTAINERS_REGISTRIES_CONF=" + conf + " " + ours + " pin --arch x86_64,aarch64 " + strings.Join(refs, " ")},
		{name: "crane digest", line: each("crane digest --insecure --platform linux/ARCH REF || exit")},
		{name: "crane digest, 8 at a time", line: "cat" + atOnce, stdin: each("crane digest --insecure --platform linux/ARCH REF")},
	}
	for _, skopeo := range []string{"skopeo", "skopeo-new"} {
		inspect := skopeo + " --override-arch ARCH inspect --tls-verify=false"
		twice := inspect + " --raw docker://REF && " + inspect + " --config --raw docker://REF"
		tools = append(tools, tool{name: skopeo, line: each("{ " + twice + "; } || exit")},
			tool{name: skopeo + ", 8 at a time", line: "cat" + atOnce, stdin: each(twice)})
	}
	return b.compare(fmt.Sprintf("pin %d images for 2 architectures", pinImages), installed(tools, map[string][]string{
		"crane digest": {"crane"}, "crane digest, 8 at a time": {"crane"}, "skopeo": {"skopeo"}, "skopeo, 8 at a time": {"skopeo"},
		"skopeo-new": {"skopeo-new"}, "skopeo-new, 8 at a time": {"skopeo-new"},
	}))
}
