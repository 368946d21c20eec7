// Package images makes container images for tests, out of nothing, and pushes
// them to a registry.
//
// The same options give the same bytes, on every machine: contents are
// pseudo-random, seeded by the layer's size and place, and do not compress.
//
//	img := images.New(images.Layer(1<<20), images.Layer(2<<20), images.Arch("arm64"))
//	img.Push(t, reg.URL, "repo/name:v1", images.Via(reg.Client()))
//	// img.Digest, img.Raw, img.ID, img.Config, img.Layers[0].Digest
//
//	list := images.NewList(images.Of(img, images.New(images.Layer(3<<20))))
//	list.Push(t, reg.URL, "repo/name:latest")
//
// An image may also be a bad one: [Edit] changes its manifest before the digest
// is taken. What no registry would store is answered by its [Image.Handler]
// through a fault proxy:
//
//	old := images.Schema1("repo/name", "v1")
//	f.On(registry.Manifest(old.Digest.String()), registry.Handle(old.Handler()))
//
// Layers are real tar archives: containers/storage, podman and umoci unpack them.
package images
