// Command osbuild-containers is the tool for people and CI jobs: it pins tags to digests, fetches pinned images,
// maintains the cache, and exports and mirrors images.
package main

import (
	"context"
	"os"

	"osbuild-containers/internal/cli"
	"osbuild-containers/internal/image"
)

func main() {
	if image.Reexec() {
		return
	}
	os.Exit(cli.Main(context.Background(), cli.OS()))
}
