// Demo shows the sources at work, from nothing: it starts a registry on loopback,
// pushes an image for two architectures to it, and lets the source executables
// fetch it into a cache, twice. Anything that is not as it should be ends it with
// status 1.
//
//	make demo
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

func main() {
	cache := flag.String("cache", "", "directory for the cache, kept at the end (default: a temporary one)")
	libdir := flag.String("libdir", "build/libdir", "where the executables are")
	flag.Parse()
	if err := demo(os.Stdout, *libdir, *cache); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

// demo does all steps; the text it writes explains them.
func demo(out io.Writer, libdir, cache string) (err error) {
	dir, err := os.MkdirTemp("", "demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if cache == "" {
		cache = dir + "/cache"
	}
	d := &stage{out: out, libdir: libdir, cache: cache}

	d.step("Build a small image for two architectures out of test/demo/toolbox.")
	list, amd64, arm64, err := buildImage(dir)
	if err != nil {
		return err
	}
	d.step("Start a registry on loopback, distribution v3, and push the image.")
	reg, err := registry.Run(dir)
	if err != nil {
		return err
	}
	defer reg.Close()
	proxy := registry.Proxy(reg.URL) // it counts what is asked for
	defer proxy.Close()
	name := proxy.Addr + "/toolbox"
	if err := images.Push(list, reg.URL, "toolbox:latest"); err != nil {
		return err
	}
	d.show("  ", describe(name, list, amd64, arm64))

	index := request{Cache: cache, Items: map[string]item{list.Digest.String(): {Image: imageOf(name, "")}}}
	pinned := request{Cache: cache, Items: map[string]item{
		amd64.ID.String(): {Image: imageOf(name, amd64.Digest.String())},
		arm64.ID.String(): {Image: imageOf(name, arm64.Digest.String())},
	}}
	d.step("Fetch the manifest list: a JSON request into org.osbuild.skopeo-index.")
	if err := d.fetch("org.osbuild.skopeo-index", index, false); err != nil {
		return err
	}
	d.step("Fetch both images it names: a request into org.osbuild.skopeo.")
	if err := d.fetch("org.osbuild.skopeo", pinned, false); err != nil {
		return err
	}
	d.step("The cache now holds these files; what the images share is there once.")
	if err := d.showCache(list, amd64, arm64); err != nil {
		return err
	}
	asked := len(proxy.Requests())
	d.step("The same requests again are answered from the cache.")
	start := time.Now()
	if err := d.fetch("org.osbuild.skopeo-index", index, true); err != nil {
		return err
	}
	if err := d.fetch("org.osbuild.skopeo", pinned, true); err != nil {
		return err
	}
	if more := len(proxy.Requests()) - asked; more != 0 {
		return fmt.Errorf("the second run asked the registry %d times", more)
	}
	d.show("  ", fmt.Sprintf("Both together: %v, and the registry was not asked at all.", time.Since(start).Round(time.Millisecond)))
	_, err = fmt.Fprint(out, next)
	return err
}

// next is what to try after the demo.
const next = `
Every byte is as it was pushed. To try next, with an image of yours:

  build/osbuild-containers pin REGISTRY/NAME:TAG --arch amd64,arm64
  build/osbuild-containers fetch --cache cache
  build/osbuild-containers list --cache cache

README.md shows the same in a build with osbuild, with the stages.
`

// describe says what was pushed.
func describe(name string, list *images.List, all ...*images.Image) string {
	text := fmt.Sprintf("%s\nlist %s\n", name, list.Digest)
	for i, arch := range []string{"amd64", "arm64"} {
		text += fmt.Sprintf("  %s %s, %d layers\n", arch, all[i].Digest, len(all[i].Layers))
	}
	return shorten(text)
}
