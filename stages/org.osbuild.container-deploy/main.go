// Command org.osbuild.container-deploy is a stage that puts the file system of a
// container image into the tree.
package main

import (
	"context"
	"os"

	"osbuild-containers/internal/image/storage"
	"osbuild-containers/internal/module"
	"osbuild-containers/stages/containerdeploy"
)

func main() {
	if storage.Reexec() {
		return
	}
	os.Exit(containerdeploy.Stage.Main(context.Background(), module.OS()))
}
