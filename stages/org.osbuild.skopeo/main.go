// Command org.osbuild.skopeo is a stage that copies container images into the tree.
package main

import (
	"context"
	"os"
	"syscall"

	"osbuild-containers/internal/image"
	"osbuild-containers/internal/module"
)

const example = `"inputs": {"images": {"path": "/inputs", "data": {"archives": {
      "image.tar": {"format": "oci-archive", "name": "localhost/image:v1"}}}}},
   "options": {"destination": {"type": "containers-storage"}}`

func main() {
	if image.Reexec() {
		return
	}
	syscall.Umask(0o022) // the modes of what is written do not depend on the caller
	os.Exit(module.Stage{Name: "org.osbuild.skopeo", Example: example, Run: run}.Main(context.Background(), module.OS()))
}
