// Command org.osbuild.skopeo-index is a source that fetches manifest lists of container images by digest.
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
		Name:     "org.osbuild.skopeo-index",
		Download: fetch.Lists,
		Copy:     fetch.CopyLists,
	}))
}
