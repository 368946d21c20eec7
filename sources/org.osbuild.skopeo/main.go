// Command org.osbuild.skopeo is a source that fetches container images by digest.
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
	os.Exit(sources.Skopeo.Main(context.Background(), module.OS()))
}
