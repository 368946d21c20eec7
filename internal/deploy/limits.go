package deploy

import (
	"fmt"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/layer"
	"osbuild-containers/internal/tree"
)

// Limits are what a layer, and all of them together, may have. Zero is the default.
type Limits = layer.Limits

const (
	// maxName is what the kernel takes as one path, or as the target of a symbolic link.
	maxName = unix.PathMax - 1

	// entryBytes is the memory that an entry may need on the average.
	entryBytes = 200

	// fewEntries may need more than others, in memory and steps.
	fewEntries = 10_000

	// stepsPerLevel, by the limit of depth or its default, is what an entry may cost on
	// the average. Its path is walked three times, in the layer, in the tree and by the
	// kernel, and a hard link has two.
	stepsPerLevel = 8
)

// ledger counts what an image costs.
type ledger struct {
	image   *layer.Tally
	limits  Limits // of image
	entries int64  // of the image, with the directories that have no entry of their own
	bytes   int64  // that are remembered now
	steps   int64  // a step is one component of a path, or one path, that is examined
}

func newLedger(l Limits) ledger {
	image := layer.NewTally(l)
	return ledger{image: image, limits: image.Limits()}
}

// count counts something that is remembered and has no entry of its own.
func (c *ledger) count() error {
	c.entries++
	return c.image.Entry()
}

// remember counts memory, until the layer ends where there is one.
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

// forget takes back what was remembered of a layer.
func (c *ledger) forget(l *layerState) { c.bytes -= l.bytes }

// maySpend refuses a layer, or an image, of so many entries that took too many steps.
func (c *ledger) maySpend(what string, steps, entries int64) error {
	if limit := stepsPerLevel * int64(max(c.limits.Depth, layer.DefaultDepth)) * (entries + fewEntries); steps > limit {
		return &layer.LimitError{What: "steps to merge the " + what, Limit: limit}
	}
	return nil
}

// metaBytes is what metadata costs that is remembered.
func metaBytes(m *tree.Meta) int64 {
	const meta, attributes = 64, 368 // with room for eight attributes
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

// attributeBytes is what an attribute costs among many.
func attributeBytes(name, value string) int64 { return 80 + int64(len(name)+len(value)) }

func tooDeep(name string, limit int) error {
	return fmt.Errorf("%.100q…: %w", name, &layer.LimitError{What: "components in a path", Limit: int64(limit)})
}
