// Command org.osbuild.oci-archive is a stage that makes a container image of trees.
package main

import (
	"context"
	"os"

	"osbuild-containers/internal/module"
	"osbuild-containers/stages/ociarchive"
)

func main() {
	os.Exit(ociarchive.Stage.Main(context.Background(), module.OS()))
}
