// Command org.osbuild.skopeo is a stage that copies container images into the tree.
package main

import (
	"context"
	"os"
	"syscall"

	"osbuild-containers/internal/image"
	"osbuild-containers/internal/stage"
)

func main() {
	if image.Reexec() {
		return
	}
	syscall.Umask(0o022) // what is written does not depend on who calls
	os.Exit(stage.Main(context.Background(), stage.OS(), stage.Stage{Name: "org.osbuild.skopeo", Run: run}))
}
