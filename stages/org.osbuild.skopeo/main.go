// Command org.osbuild.skopeo is a stage that copies container images into the tree.
package main

import (
	"context"
	"os"

	"osbuild-containers/internal/image/storage"
	"osbuild-containers/internal/module"
	"osbuild-containers/stages/skopeo"
)

func main() {
	if storage.Reexec() {
		return
	}
	os.Exit(skopeo.Stage.Main(context.Background(), module.OS()))
}
