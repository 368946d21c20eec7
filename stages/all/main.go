// Command all contains all stages in one executable. It is installed under each stage's name.
package main

import (
	"context"
	"os"

	"osbuild-containers/internal/image/storage"
	"osbuild-containers/internal/module"
	"osbuild-containers/stages/containerdeploy"
	"osbuild-containers/stages/ociarchive"
	"osbuild-containers/stages/skopeo"
)

func main() {
	if storage.Reexec() {
		return
	}
	all := module.Several{containerdeploy.Stage, ociarchive.Stage, skopeo.Stage}
	os.Exit(all.Main(context.Background(), module.OS(), os.Args[0]))
}
