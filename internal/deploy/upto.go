package deploy

import (
	"fmt"
	"strconv"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/progress"
)

// UpTo returns the layers up to the last one that is wanted: its number, counted from 1, or its digest or diff id.
func UpTo(layers []Layer, last string) ([]Layer, error) {
	if n, err := strconv.Atoi(last); err == nil {
		if n > len(layers) || n < 1 {
			return nil, fmt.Errorf("the image has %s, got %d", progress.Count(len(layers), "layer"), n)
		}
		return layers[:n], nil
	}
	want := digest.Digest(last)
	for i, l := range layers {
		if l.Digest == want || l.DiffID == want {
			return layers[:i+1], nil
		}
	}
	return nil, fmt.Errorf("no layer of the image has the digest or diff id %s", last)
}
