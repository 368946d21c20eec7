// Command org.osbuild.skopeo-index is a source that fetches manifest lists of container images by digest.
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
	os.Exit(sources.SkopeoIndex.Main(context.Background(), module.OS()))
}
