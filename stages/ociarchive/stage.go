// Package ociarchive is the stage org.osbuild.oci-archive, which builds a container image from trees.
package ociarchive

import "osbuild-containers/internal/module"

// Stage is org.osbuild.oci-archive.
var Stage = module.Stage{
	Name: "org.osbuild.oci-archive",
	Example: `"inputs": {"base": {"path": "/inputs/tree"}},
   "options": {"architecture": "amd64", "filename": "image.tar"}`,
	Run: archive,
}
