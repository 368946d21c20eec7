// Command org.osbuild.skopeo is a source that fetches container images by digest.
package main

import (
	"context"
	"os"

	"osbuild-containers/internal/fetch"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/module"
)

func main() {
	if image.Reexec() {
		return
	}
	os.Exit(module.Main(context.Background(), module.OS(), module.Source{
		Name:     "org.osbuild.skopeo",
		Download: fetch.Images,
		Copy:     fetch.CopyImages,
	}))
}
