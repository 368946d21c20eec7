// Package containerdeploy is the stage org.osbuild.container-deploy, which deploys the file system of a container
// image into the tree.
package containerdeploy

import "osbuild-containers/internal/module"

// Stage is org.osbuild.container-deploy.
var Stage = module.Stage{
	Name: "org.osbuild.container-deploy",
	Example: `"inputs": {"images": {"path": "/inputs", "data": {"archives": {
      "image.tar": {"format": "oci-archive", "name": "localhost/image:v1"}}}}},
   "options": {"exclude": ["usr/share/doc"]}`,
	Run: run,
}
