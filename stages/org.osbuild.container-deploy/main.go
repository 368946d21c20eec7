// Command org.osbuild.container-deploy is a stage that puts the file system of a
// container image into the tree.
package main

import (
	"context"
	"os"

	"osbuild-containers/internal/image"
	"osbuild-containers/internal/module"
)

const name = "org.osbuild.container-deploy"

const example = `"inputs": {"images": {"path": "/inputs", "data": {"archives": {
      "image.tar": {"format": "oci-archive", "name": "localhost/image:v1"}}}}},
   "options": {"exclude": ["usr/share/doc"]}`

func main() {
	if image.Reexec() {
		return
	}
	os.Exit(module.Stage{Name: name, Example: example, Run: run}.Main(context.Background(), module.OS()))
}
