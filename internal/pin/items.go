package pin

import (
	"strings"

	"osbuild-containers/internal/request"
)

// Items returns what to fetch for the pin: the image, and the manifest list it was chosen from, if any.
func (i *Image) Items(a request.Access) (img request.Item, lists []request.Item) {
	name, _, _ := strings.Cut(i.Reference, "@")
	where := request.Image{Name: name, Access: a, Transport: i.Transport, StorageLocation: i.StorageLocation}
	if i.List != "" {
		lists = append(lists, request.Item{ID: i.List, Image: where})
	}
	where.Digest, where.Pinned, where.Platform = i.Manifest, i.Pinned(), i.Platform
	return request.Item{ID: i.ID, Image: where}, lists
}
