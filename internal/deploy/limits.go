package deploy

import (
	"fmt"

	"golang.org/x/sys/unix"

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

const (
	// maxName is what the kernel takes as one path, or as the target of a symbolic link.
	maxName = unix.PathMax - 1

	// nameBytes is how long names, targets and attributes may be on the average, so that
	// those that have to be remembered fit into memory.
	nameBytes = 256

	// fewEntries may have names of any length.
	fewEntries = 10_000
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

// names refuses names that are too long, alone or together.
func (d *deployer) names(e *layer.Entry) error {
	for _, name := range []string{e.Name, e.Link} {
		if len(name) > maxName {
			return fmt.Errorf("%.100q…: %w", name, &layer.LimitError{What: "bytes in a name", Limit: maxName})
		}
	}
	d.named += int64(len(e.Name) + len(e.Link))
	for name, value := range e.Xattrs {
		d.named += int64(len(name) + len(value))
	}
	if limit := nameBytes * max(d.limits.Entries, fewEntries); d.named > limit {
		return &layer.LimitError{What: "bytes in the names and attributes of the image", Limit: limit}
	}
	return nil
}
