package deploy

import (
	"fmt"

	"osbuild-containers/internal/layer"
)

// Limits stop an image that would fill a disk, a memory or a day. Zero is the default.
type Limits struct {
	Entries    int64 // of all layers
	LayerBytes int64 // of one layer: of its archive, and of its files with their holes
	Depth      int   // of a path: how many components it has
}

// The defaults are far above what any known image has.
const (
	DefaultEntries = 4_000_000
	DefaultDepth   = 256
)

func (l Limits) withDefaults() Limits {
	if l.Entries <= 0 {
		l.Entries = DefaultEntries
	}
	if l.LayerBytes <= 0 {
		l.LayerBytes = layer.DefaultBytes
	}
	if l.Depth <= 0 {
		l.Depth = DefaultDepth
	}
	return l
}

func (l Limits) layer() layer.Limits { return layer.Limits{Bytes: l.LayerBytes} }

// depth refuses a path that is too deep.
func (l Limits) depth(name string) error {
	n := 1
	for i := range len(name) {
		if name[i] == '/' {
			n++
		}
	}
	if n > l.Depth {
		return fmt.Errorf("%.100q…: %w", name, &layer.LimitError{What: "components in a path", Limit: int64(l.Depth)})
	}
	return nil
}
