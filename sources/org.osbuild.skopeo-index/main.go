// Command org.osbuild.skopeo-index is a source that fetches manifest lists of container images by digest.
package main

import (
	"context"
	"os"

	"osbuild-containers/internal/fetch"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/module"
)

const example = `{"image": {"name": "registry.example.com/team/app"}}`

func main() {
	if image.Reexec() {
		return
	}
	os.Exit(module.Source{
		Name:     "org.osbuild.skopeo-index",
		Example:  example,
		Download: fetch.Lists,
		Copy:     fetch.CopyLists,
	}.Main(context.Background(), module.OS()))
}
