// Package skopeo is the stage org.osbuild.skopeo, which copies container images into the tree.
package skopeo

import (
	"context"
	"syscall"

	"osbuild-containers/internal/module"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// Stage is org.osbuild.skopeo.
var Stage = module.Stage{
	Name: "org.osbuild.skopeo",
	Example: `"inputs": {"images": {"path": "/inputs", "data": {"archives": {
      "image.tar": {"format": "oci-archive", "name": "localhost/image:v1"}}}}},
   "options": {"destination": {"type": "containers-storage"}}`,
	Run: func(ctx context.Context, a *request.Arguments, log *progress.Reporter) error {
		syscall.Umask(0o022) // file modes must not depend on the caller's umask
		return run(ctx, a, log)
	},
}
