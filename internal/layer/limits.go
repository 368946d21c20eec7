package layer

import (
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Limits bound what a layer, and the layers of an image together, may have. Zero means
// the default.
type Limits struct {
	LayerBytes int64 // of one archive, and of the files it declares, holes included
	ImageBytes int64 // the same of all layers of an image
	Entries    int64 // of all layers of an image
	Depth      int   // components in a path
}

// The defaults are above what any image on a public registry has, and below a disk.
const (
	DefaultLayerBytes = 64 << 30
	DefaultImageBytes = 256 << 30
	DefaultEntries    = 4_000_000
	DefaultDepth      = 256
)

const (
	// maxPath is the longest path, and target of a symbolic link, that the kernel takes.
	maxPath = unix.PathMax - 1

	// maxComponent is the longest name in a directory; a whiteout has a prefix before it.
	maxComponent = unix.NAME_MAX + len(".wh.")

	// nameBytes is how many bytes the names, targets and attributes of an entry may have
	// on average, so that those that have to be remembered fit into memory.
	nameBytes = 256

	// plainHeader is how many bytes the headers of an entry have without long names and
	// attributes, in the largest format. What is beyond counts as names and attributes.
	plainHeader = 2048

	// maxHeaders is how many bytes the headers of one entry may have: four times what a
	// long name, or all attributes, may have.
	maxHeaders = 4 << 20

	// fewEntries may have names of any length.
	fewEntries = 10_000

	// maxTail is how many bytes may follow the end of an archive: as many as GNU tar
	// writes with a blocking factor of 2048.
	maxTail = 1 << 20
)

func (l Limits) withDefaults() Limits {
	if l.LayerBytes <= 0 {
		l.LayerBytes = DefaultLayerBytes
	}
	if l.ImageBytes <= 0 {
		l.ImageBytes = max(DefaultImageBytes, l.LayerBytes)
	}
	if l.Entries <= 0 {
		l.Entries = DefaultEntries
	}
	if l.Depth <= 0 {
		l.Depth = DefaultDepth
	}
	return l
}

// A Tally counts what the layers of one image have, against its limits. Its methods may
// be called concurrently.
type Tally struct {
	limits                           Limits
	entries, archive, declared, name atomic.Int64
}

// NewTally returns a Tally that has counted nothing.
func NewTally(l Limits) *Tally { return &Tally{limits: l.withDefaults()} }

// Limits returns the limits, with the defaults filled in.
func (t *Tally) Limits() Limits { return t.limits }

// Counts are what a Tally has counted: entries, bytes of archives, bytes that files declare, and
// bytes of names and attributes.
type Counts struct{ entries, archive, declared, names int64 }

// Counts returns what was counted so far.
func (t *Tally) Counts() Counts {
	return Counts{t.entries.Load(), t.archive.Load(), t.declared.Load(), t.name.Load()}
}

// Add counts what another Tally, of one layer, counted between two moments.
func (t *Tally) Add(before, after Counts) error {
	if err := t.entriesOf(after.entries - before.entries); err != nil {
		return err
	}
	if err := t.bytes(after.archive - before.archive); err != nil {
		return err
	}
	if err := t.names(after.names - before.names); err != nil {
		return err
	}
	return t.file(after.declared - before.declared)
}

// Entry counts an entry of the image, or a directory that an entry implies.
func (t *Tally) Entry() error { return t.entriesOf(1) }

func (t *Tally) entriesOf(n int64) error {
	return count(&t.entries, n, "entries and directories in the image", t.limits.Entries)
}

// bytes counts n bytes of archive.
func (t *Tally) bytes(n int64) error {
	return count(&t.archive, n, "bytes in the archives of the image's layers", t.limits.ImageBytes)
}

// file counts a file of n bytes, holes included.
func (t *Tally) file(n int64) error {
	return count(&t.declared, n, "bytes in the files of the image", t.limits.ImageBytes)
}

// names counts n bytes of names and attributes.
func (t *Tally) names(n int64) error {
	return count(&t.name, n, "bytes in the names and attributes of the image", nameBytes*max(t.limits.Entries, fewEntries))
}

// count adds n, which is no larger than limit, to what was counted. Nothing overflows,
// since what is refused is taken back.
func count(c *atomic.Int64, n int64, what string, limit int64) error {
	if n <= limit && c.Add(n) <= limit {
		return nil
	}
	if n <= limit {
		c.Add(-n)
	}
	return &LimitError{what, limit}
}

// path checks the length of a path, of its components, and how many it has.
func (l Limits) path(name string) error {
	if len(name) > maxPath {
		return fmt.Errorf("%.100q…: %w", name, &LimitError{"bytes in a path", maxPath})
	}
	depth := 0
	for c := range strings.SplitSeq(name, "/") {
		if len(c) > maxComponent {
			return fmt.Errorf("%.100q…: %w", name, &LimitError{"bytes in a component of a path", int64(maxComponent)})
		}
		if c != "" && c != "." {
			depth++
		}
	}
	if depth > l.Depth {
		return fmt.Errorf("%.100q…: %w", name, &LimitError{"components in a path", int64(l.Depth)})
	}
	return nil
}

// A LimitError reports that an image has more of something than it may have.
type LimitError struct {
	What  string
	Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: more than the limit of %d", e.What, e.Limit)
}
