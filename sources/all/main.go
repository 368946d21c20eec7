// Command all is all sources in one executable, which is installed under the name of each.
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
