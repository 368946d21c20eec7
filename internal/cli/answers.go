package cli

import (
	"cmp"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/request"
)

// cachedImage is an image of a cache in answers.
func cachedImage(i *cacheinfo.Image) answer.CachedImage {
	a := answer.CachedImage{
		Image: answer.Image{ID: i.ID, Manifest: i.Manifest, Platform: i.Platform.String(), Names: texts(i.Names())},
		List:  i.List, Schema1: i.Schema1, Size: i.Size, Unshared: i.Unshared,
		Created: i.Created, Fetched: i.Fetched, Used: i.Used, Origins: []answer.Origin{}, Error: i.Problem,
	}
	for _, o := range i.Origins {
		a.Origins = append(a.Origins, answer.Origin{
			Reference: o.Name, Pinned: cmp.Or(o.Pinned, o.Digest), Requested: o.Digest, Transport: cmp.Or(o.Transport, request.Docker),
			Storage: o.Storage, From: o.From, Fetched: o.Fetched,
		})
	}
	return a
}

// cachedImages are images of a cache in answers.
func cachedImages(images []*cacheinfo.Image) []answer.CachedImage {
	all := make([]answer.CachedImage, 0, len(images))
	for _, i := range images {
		all = append(all, cachedImage(i))
	}
	return all
}

// pinAnswer is a pin in answers.
func pinAnswer(i *pin.Image) answer.Pin {
	a := answer.Pin{
		Reference: i.Reference, Transport: cmp.Or(i.Transport, request.Docker), Storage: i.StorageLocation, Platform: i.Platform,
		Pinned: i.Pinned(), List: i.List, Manifest: i.Manifest, ID: i.ID, Schema1: i.Schema1, Size: i.Size(), Layers: layersAnswer(i.Layers),
		Resolved: i.Resolved, From: i.From,
	}
	if i.Base != nil {
		a.Base = &answer.Base{Reference: i.Base.Name, Pinned: i.Base.Digest}
	}
	return a
}

// pinsAnswer are pins in answers.
func pinsAnswer(images []pin.Image) []answer.Pin {
	all := make([]answer.Pin, 0, len(images))
	for n := range images {
		all = append(all, pinAnswer(&images[n]))
	}
	return all
}

// layersAnswer are layers in answers.
func layersAnswer(layers []pin.Layer) []answer.Layer {
	all := make([]answer.Layer, 0, len(layers))
	for _, l := range layers {
		all = append(all, answer.Layer(l))
	}
	return all
}

// blobsAnswer counts what is stored.
func blobsAnswer(all []cache.Stored) answer.Blobs {
	return answer.Blobs{Count: len(all), Bytes: cacheinfo.Bytes(all)}
}

// orEmpty is a list that is [] in JSON where there is nothing in it.
func orEmpty[E any](list []E) []E {
	if list == nil {
		return []E{}
	}
	return list
}
