// Demo shows the modules and the tool at work, from nothing: it starts a registry on
// loopback, pushes an image for two architectures to it, pins the image's tag, has the
// sources fetch it into a cache, twice, and a stage unpack it. What it made is kept for
// the commands that it prints at the end. Anything that is not as it should be ends it
// with status 1.
//
//	make demo
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"osbuild-containers/test/images"
)

func main() {
	dir := flag.String("dir", "build/demo", "directory that is emptied first and kept at the end")
	build := flag.String("build", "build", "directory in which make has built the modules and the tool")
	flag.Parse()
	if err := demo(os.Stdout, *build, *dir); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

// demo runs all steps; the text it writes explains them.
func demo(out io.Writer, build, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	abs, err := filepath.Abs(dir) // requests have absolute paths
	if err != nil {
		return err
	}
	r := &runner{out: out, build: build, dir: abs, cache: filepath.Join(abs, "cache")}

	r.step("Build a small image for two architectures out of test/demo/toolbox.")
	list, amd64, arm64, err := buildImage()
	if err != nil {
		return err
	}
	r.step("Start a registry on loopback, and push the image.")
	var asked atomic.Int64 // requests to the registry
	served := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	reg := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked.Add(1)
		served.ServeHTTP(w, req)
	}))
	defer reg.Close()
	name := reg.Listener.Addr().String() + "/toolbox"
	if err := images.Push(list, reg.URL, "toolbox:latest"); err != nil {
		return err
	}
	r.show("  ", describe(name, list, amd64, arm64))

	r.step("Pin the tag: the tool writes down which digests it stands for now.")
	if err := r.tool("pin", name+":latest", "--arch", "amd64,arm64", "--pins", filepath.Join(dir, "containers.lock.json"), "--tls-verify=false"); err != nil {
		return err
	}
	index := request{Cache: r.cache, Items: map[string]item{list.Digest.String(): {Image: imageOf(name, "")}}}
	pinned := request{Cache: r.cache, Items: map[string]item{
		amd64.ID.String(): {Image: imageOf(name+":latest", amd64.Digest.String())},
		arm64.ID.String(): {Image: imageOf(name+":latest", arm64.Digest.String())},
	}}
	r.step("Fetch the manifest list: a JSON request into org.osbuild.skopeo-index.")
	if err := r.fetch("org.osbuild.skopeo-index", index, false); err != nil {
		return err
	}
	r.step("Fetch both images it names: a request into org.osbuild.skopeo.")
	if err := r.fetch("org.osbuild.skopeo", pinned, false); err != nil {
		return err
	}
	r.step("The cache now holds these files; what the images share is there once.")
	if err := r.showCache(list, amd64, arm64); err != nil {
		return err
	}
	before := asked.Load()
	r.step("The same requests again are answered from the cache.")
	start := time.Now()
	if err := r.fetch("org.osbuild.skopeo-index", index, true); err != nil {
		return err
	}
	if err := r.fetch("org.osbuild.skopeo", pinned, true); err != nil {
		return err
	}
	if more := asked.Load() - before; more != 0 {
		return fmt.Errorf("the second run sent the registry %d requests", more)
	}
	r.show("  ", fmt.Sprintf("Both together: %v, without a request to the registry.", time.Since(start).Round(time.Millisecond)))

	image := amd64
	if runtime.GOARCH == "arm64" {
		image = arm64
	}
	r.step("Unpack one of them into a tree: a request into org.osbuild.container-deploy.")
	if err := r.deploy(image, name+":latest"); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, next, dir, filepath.Join(build, "osbuild-containers"))
	return err
}

// next is what to try after the demo.
const next = `
Every byte is as it was pushed. All is kept in %[1]s; the registry is gone.
To try next, from the cache:

  export OSBUILD_CONTAINERS_CACHE=%[1]s/cache
  %[2]s list
  %[2]s verify
  %[2]s unpack toolbox:latest %[1]s/root --ignore-owners

And with an image of yours:

  %[2]s pin REGISTRY/NAME:TAG
  %[2]s fetch

docs/getting-started.md builds an image with osbuild.
`

// describe returns what was pushed, with short digests.
func describe(name string, list *images.List, all ...*images.Image) string {
	text := fmt.Sprintf("%s\nlist %s\n", name, list.Digest)
	for i, arch := range []string{"amd64", "arm64"} {
		text += fmt.Sprintf("  %s %s, %d layers\n", arch, all[i].Digest, len(all[i].Layers))
	}
	return shorten(text)
}
