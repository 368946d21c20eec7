// Command osbuild-containers is the tool for people and CI jobs: it pins tags to digests, fetches
// what is pinned, looks after the cache and takes images elsewhere.
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
