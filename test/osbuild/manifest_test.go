package osbuild

import "osbuild-containers/test/images"

type object = map[string]any

// manifest is an osbuild manifest of version 2 with one pipeline, "tree".
func manifest(sources object, stages ...object) object {
	return object{
		"version": "2",
		"sources": sources,
		"pipelines": []object{{
			"name": "tree", "source-epoch": 1700000000, "stages": stages,
		}},
	}
}

func items(entries object) object { return object{"items": entries} }

// pinned is an item of org.osbuild.skopeo.
func pinned(name string, img *images.Image) object {
	return object{"image": object{"name": name, "digest": img.Digest.String(), "tls-verify": false}}
}

// listed is an item of org.osbuild.skopeo-index.
func listed(name string) object {
	return object{"image": object{"name": name, "tls-verify": false}}
}

// noop is a stage that does nothing, with images as its input: osbuild mounts each
// from its store.
func noop(ids ...string) object {
	return object{"type": "org.osbuild.noop", "inputs": inputs(nil, ids...)}
}

// skopeo is osbuild's own stage; it copies the image into a dir in the tree.
func skopeo(list string, id string) object {
	return object{
		"type":    "org.osbuild.skopeo",
		"inputs":  inputs([]string{list}, id),
		"options": object{"destination": object{"type": "dir", "path": "/image"}},
	}
}

func inputs(lists []string, ids ...string) object {
	if len(ids) == 0 {
		return object{}
	}
	references := object{}
	for _, id := range ids {
		references[id] = object{"name": "localhost/test:v1"}
	}
	in := object{"images": object{
		"type": "org.osbuild.containers", "origin": "org.osbuild.source", "references": references,
	}}
	if lists != nil {
		in["manifest-lists"] = object{
			"type": "org.osbuild.files", "origin": "org.osbuild.source", "references": lists,
		}
	}
	return in
}
