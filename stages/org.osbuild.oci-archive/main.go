// Command org.osbuild.oci-archive is a stage that makes a container image of trees.
package main

import (
	"context"
	"os"

	"osbuild-containers/internal/stage"
)

func main() {
	os.Exit(stage.Main(context.Background(), stage.OS(), stage.Stage{
		Name: "org.osbuild.oci-archive",
		Run:  archive,
	}))
}
