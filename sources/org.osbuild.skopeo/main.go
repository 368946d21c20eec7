// Command org.osbuild.skopeo is a source that fetches container images by digest.
package main

import (
	"context"
	"os"

	"osbuild-containers/internal/fetch"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/module"
)

const example = `{"image": {"name": "registry.example.com/team/app",
      "digest": "sha256:2222222222222222222222222222222222222222222222222222222222222222"}}`

func main() {
	if image.Reexec() {
		return
	}
	os.Exit(module.Source{
		Name:     "org.osbuild.skopeo",
		Example:  example,
		Download: fetch.Images,
		Copy:     fetch.CopyImages,
	}.Main(context.Background(), module.OS()))
}
