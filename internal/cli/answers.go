package cli

import (
	"cmp"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/request"
)

// cachedImage returns an image of a cache as printed in JSON.
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

// cachedImages returns images of a cache as printed in JSON.
func cachedImages(images []*cacheinfo.Image) []answer.CachedImage {
	all := make([]answer.CachedImage, 0, len(images))
	for _, i := range images {
		all = append(all, cachedImage(i))
	}
	return all
}

// pinAnswer returns a pin as printed in JSON.
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

// pinsAnswer returns pins as printed in JSON.
func pinsAnswer(images []pin.Image) []answer.Pin {
	all := make([]answer.Pin, 0, len(images))
	for n := range images {
		all = append(all, pinAnswer(&images[n]))
	}
	return all
}

// layersAnswer returns layers as printed in JSON.
func layersAnswer(layers []pin.Layer) []answer.Layer {
	all := make([]answer.Layer, 0, len(layers))
	for _, l := range layers {
		all = append(all, answer.Layer(l))
	}
	return all
}

// blobsAnswer returns the number and size of blobs as printed in JSON.
func blobsAnswer(all []cache.Stored) answer.Blobs {
	return answer.Blobs{Count: len(all), Bytes: cacheinfo.Bytes(all)}
}

// orEmpty returns a list that is encoded as [] if it is empty.
func orEmpty[E any](list []E) []E {
	if list == nil {
		return []E{}
	}
	return list
}
