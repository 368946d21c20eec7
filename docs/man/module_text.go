package main

// moduleText is what the schemas do not say of sources and of stages.
var moduleText = map[string]struct{ input, text, example string }{
	"sources": {
		input: "request.json",
		text: "osbuild starts a source before it builds, with a request on standard input or as a host service, and has it bring " +
			"all items of a manifest into its cache, STORE/sources. The log goes to standard error.",
		example: "In the sources of a manifest:",
	},
	"stages": {
		input: "arguments.json",
		text: "osbuild starts a stage in its sandbox, with the tree, the inputs and the options. The log goes to standard " +
			"error.",
		example: "In a pipeline of a manifest:",
	},
}

// moduleExamples are parts of manifests.
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

// moduleFiles are the files that modules read besides those that osbuild names.
var moduleFiles = map[string]string{
	"org.osbuild.skopeo":             "The source reaches registries as the configuration of containers tools says: auth.json, registries.conf, policy.json, registries.d and certs.d; and storage.conf for images in a containers storage. The page osbuild-containers(1) has their paths, and the variables of the environment that change them.",
	"org.osbuild.skopeo-index":       "Registries are reached as the configuration of containers tools says: auth.json, registries.conf, registries.d and certs.d. The page osbuild-containers(1) has their paths, and the variables of the environment that change them.",
	"org.osbuild.containers-storage": "storage.conf says where the containers storage is. See containers-storage.conf(5).",
}

// pinFileText is what the schema of the pin file does not say of it.
const pinFileText = `A pin file has the digests that references to images pointed to when they were pinned. osbuild-containers pin writes it and keeps it true, and the other commands read it: what they fetch, mirror and export are these digests, whatever the tags point to by then. It belongs into version control, next to the manifest that it is for.

The file is JSON, sorted by reference and platform, with a fixed layout: the same pins are the same bytes, so that a difference shows what has moved. It is replaced as a whole or not at all. What the schema does not allow is refused, unknown fields too. A file of a newer version is refused with a message that says so.`

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
