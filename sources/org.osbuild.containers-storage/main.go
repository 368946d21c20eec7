// Command org.osbuild.containers-storage is a source that reports whether images are in the host's container storage.
package main

import (
	"context"
	"os"

	"osbuild-containers/internal/fetch"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/module"
)

const example = `{}`

func main() {
	if image.Reexec() {
		return
	}
	os.Exit(module.Source{
		Name:     "org.osbuild.containers-storage",
		Example:  example,
		Download: fetch.Stored,
		Copy:     fetch.StoredCopy,
	}.Main(context.Background(), module.OS()))
}
