package main

// moduleText has the texts for sources and stages that are not in the schemas.
var moduleText = map[string]struct{ input, text, example string }{
	"sources": {
		input: "request.json",
		text: "osbuild runs a source before a build, with a request on standard input or as a host service, to fetch all items " +
			"of a manifest into its cache, STORE/sources. The log is written to standard error.",
		example: "In the sources of a manifest:",
	},
	"stages": {
		input: "arguments.json",
		text: "osbuild runs a stage in its sandbox, with the tree, the inputs and the options. The log is written to standard " +
			"error.",
		example: "In a pipeline of a manifest:",
	},
}

// moduleExamples are excerpts of manifests.
var moduleExamples = map[string]string{
	"sources/org.osbuild.skopeo": `
{"org.osbuild.skopeo": {"items": {
  "sha256:1111111111111111111111111111111111111111111111111111111111111111": {
    "image": {
      "name": "registry.example.com/team/base:1",
      "digest":
"sha256:2222222222222222222222222222222222222222222222222222222222222222"
    }
  }
}}}`,
	"sources/org.osbuild.skopeo-index": `
{"org.osbuild.skopeo-index": {"items": {
  "sha256:3333333333333333333333333333333333333333333333333333333333333333": {
    "image": {"name": "registry.example.com/team/base:1"}
  }
}}}`,
	"sources/org.osbuild.containers-storage": `
{"org.osbuild.containers-storage": {"items": {
  "sha256:1111111111111111111111111111111111111111111111111111111111111111": {}
}}}`,
	"stages/org.osbuild.container-deploy": `
{
  "type": "org.osbuild.container-deploy",
  "inputs": {"images": {
    "type": "org.osbuild.containers",
    "origin": "org.osbuild.source",
    "references": {"registry.example.com/team/base:1": {}}
  }},
  "options": {"exclude": ["usr/share/doc"]}
}`,
	"stages/org.osbuild.oci-archive": `
{
  "type": "org.osbuild.oci-archive",
  "inputs": {"base": {
    "type": "org.osbuild.tree",
    "origin": "org.osbuild.pipeline",
    "references": ["name:tree"]
  }},
  "options": {
    "architecture": "x86_64",
    "filename": "image.tar",
    "config": {"Cmd": ["/usr/bin/bash"]}
  }
}`,
	"stages/org.osbuild.skopeo": `
{
  "type": "org.osbuild.skopeo",
  "inputs": {"images": {
    "type": "org.osbuild.containers",
    "origin": "org.osbuild.source",
    "references": {"registry.example.com/team/base:1": {}}
  }},
  "options": {"destination": {
    "type": "containers-storage",
    "storage-path": "/usr/share/containers/storage"
  }}
}`,
}

// moduleFiles describes the files that modules read besides those passed by osbuild.
var moduleFiles = map[string]string{
	"org.osbuild.skopeo":             "The source uses the registry configuration of the machine: auth.json, registries.conf, policy.json, registries.d and certs.d; and storage.conf for images in a containers storage. See osbuild-containers(1) for their paths, and the environment variables that change them.",
	"org.osbuild.skopeo-index":       "The registry configuration of the machine: auth.json, registries.conf, registries.d and certs.d. See osbuild-containers(1) for their paths, and the environment variables that change them.",
	"org.osbuild.containers-storage": "storage.conf has the location of the containers storage. See containers-storage.conf(5).",
}

// pinFileText describes what is not in the schema of the pin file.
const pinFileText = `A pin file has the digests that references to images pointed to when they were pinned. osbuild-containers pin creates and updates it. Other commands fetch, mirror and export these digests, even if the tags have moved. Keep it in version control, next to the manifest.

The file is JSON, sorted by reference and platform, with a fixed layout: the same pins give the same bytes, so that a diff shows what has moved. It is replaced atomically. A file that does not match the schema is refused, also for unknown fields. So is a file of a newer version.`

const pinFileExample = `
{
  "version": 1,
  "images": [
    {
      "reference": "registry.example.com/team/base:1",
      "platform": "linux/amd64",
      "manifest":
"sha256:2222222222222222222222222222222222222222222222222222222222222222",
      "id":
"sha256:1111111111111111111111111111111111111111111111111111111111111111",
      "layers": [
        {
          "digest":
"sha256:4444444444444444444444444444444444444444444444444444444444444444",
          "size": 48730112
        }
      ],
      "resolved": "2026-01-31T12:00:00Z"
    }
  ]
}`
