// Command all contains all sources in one executable. It is installed under each source's name.
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
	all := module.Several{sources.Skopeo, sources.SkopeoIndex, sources.ContainersStorage}
	os.Exit(all.Main(context.Background(), module.OS(), os.Args[0]))
}
