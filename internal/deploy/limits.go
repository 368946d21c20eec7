package deploy

import (
	"fmt"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/layer"
	"osbuild-containers/internal/tree"
)

// Limits bound each layer, and the image as a whole. A zero field selects the default.
type Limits = layer.Limits

const (
	// maxName is the longest path, or target of a symbolic link, that the kernel accepts.
	maxName = unix.PathMax - 1

	// entryBytes is the memory that an entry may take on average.
	entryBytes = 200

	// fewEntries is a number of entries that may take more than the average, in memory and steps.
	fewEntries = 10_000

	// stepsPerLevel is how many steps an entry may take on average for each level of the permitted
	// depth. Its path is walked three times, in the layer, in the tree and by the kernel, and a
	// hard link has two paths.
	stepsPerLevel = 8
)

// ledger counts the cost of an image.
type ledger struct {
	image   *layer.Tally
	limits  Limits // of the image
	entries int64  // of the image, including directories without an entry
	bytes   int64  // allocated now
	steps   int64  // a step examines one component of a path, or one path
}

func newLedger(l Limits) ledger {
	image := layer.NewTally(l)
	return ledger{image: image, limits: image.Limits()}
}

// count counts an element in memory that has no entry of its own.
func (c *ledger) count() error {
	c.entries++
	return c.image.Entry()
}

// remember counts bytes of memory that are freed with the layer, if l is not nil.
func (c *ledger) remember(l *layerState, bytes int64) error {
	c.bytes += bytes
	if l != nil {
		l.bytes += bytes
	}
	if limit := entryBytes * max(c.limits.Entries, fewEntries); c.bytes > limit {
		return &layer.LimitError{What: "bytes to remember of the paths of the image", Limit: limit}
	}
	return nil
}

// forget subtracts the memory of a layer.
func (c *ledger) forget(l *layerState) { c.bytes -= l.bytes }

// maySpend returns an error if a layer, or an image, with that many entries took too many steps.
func (c *ledger) maySpend(what string, steps, entries int64) error {
	if limit := stepsPerLevel * int64(max(c.limits.Depth, layer.DefaultDepth)) * (entries + fewEntries); steps > limit {
		return &layer.LimitError{What: "steps to merge the " + what, Limit: limit}
	}
	return nil
}

// metaBytes returns the memory that metadata takes.
func metaBytes(m *tree.Meta) int64 {
	const meta, attributes = 64, 368 // with space for eight attributes
	if m == nil {
		return 0
	}
	n := int64(meta)
	if len(m.Xattrs) > 0 {
		n += attributes
	}
	for name, value := range m.Xattrs {
		n += attributeBytes(name, value)
	}
	return n
}

// attributeBytes returns the memory that one of many attributes takes.
func attributeBytes(name, value string) int64 { return 80 + int64(len(name)+len(value)) }

func tooDeep(name string, limit int) error {
	return fmt.Errorf("%.100q…: %w", name, &layer.LimitError{What: "components in a path", Limit: int64(limit)})
}
