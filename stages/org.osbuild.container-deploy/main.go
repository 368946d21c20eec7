// Command org.osbuild.container-deploy is a stage that puts the file system of a
// container image into the tree.
package main

import (
	"context"
	"os"

	"osbuild-containers/internal/image"
	"osbuild-containers/internal/stage"
)

const name = "org.osbuild.container-deploy"

func main() {
	if image.Reexec() {
		return
	}
	os.Exit(stage.Main(context.Background(), stage.OS(), stage.Stage{Name: name, Run: run}))
}
