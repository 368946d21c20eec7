// Package ociarchive is the stage org.osbuild.oci-archive, which makes a container image of trees.
package ociarchive

import "osbuild-containers/internal/module"

// Stage is the stage.
var Stage = module.Stage{
	Name: "org.osbuild.oci-archive",
	Example: `"inputs": {"base": {"path": "/inputs/tree"}},
   "options": {"architecture": "amd64", "filename": "image.tar"}`,
	Run: archive,
}
