// Command org.osbuild.containers-storage is a source that reports whether images are in the host's container storage.
package main

import (
	"context"
	"os"

	"osbuild-containers/internal/image"
	"osbuild-containers/internal/module"
	"osbuild-containers/sources"
)

func main() {
	if image.Reexec() {
		return
	}
	os.Exit(sources.ContainersStorage.Main(context.Background(), module.OS()))
}
