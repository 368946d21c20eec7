// Command org.osbuild.oci-archive is a stage that makes a container image of trees.
package main

import (
	"context"
	"os"

	"osbuild-containers/internal/module"
)

const example = `"inputs": {"base": {"path": "/inputs/tree"}},
   "options": {"architecture": "amd64", "filename": "image.tar"}`

func main() {
	os.Exit(module.Stage{Name: "org.osbuild.oci-archive", Example: example, Run: archive}.Main(context.Background(), module.OS()))
}
