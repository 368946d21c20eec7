package layer

import (
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Limits bound one layer, and all layers of an image together. Zero fields mean the defaults.
type Limits struct {
	LayerBytes int64 // of one archive, and of the files in it, holes included
	ImageBytes int64 // the same for all layers of an image
	Entries    int64 // of all layers of an image
	Depth      int   // components in a path
}

// The defaults exceed every image on public registries, and are below the size of a disk.
const (
	DefaultLayerBytes = 64 << 30
	DefaultImageBytes = 256 << 30
	DefaultEntries    = 4_000_000
	DefaultDepth      = 256
)

const (
	// maxPath is the kernel's limit for a path and for the target of a symbolic link.
	maxPath = unix.PathMax - 1

	// maxComponent is the longest name in a directory, including the prefix of a whiteout.
	maxComponent = unix.NAME_MAX + len(".wh.")

	// nameBytes is the average number of bytes of names, targets and attributes allowed per entry: the ones that must
	// be remembered have to fit into memory.
	nameBytes = 256

	// plainHeader is the size of an entry's headers without long names and attributes, in the largest format. Bytes
	// beyond it count as names and attributes.
	plainHeader = 2048

	// maxHeaders is the maximum size of one entry's headers: four times the limit for a long name or all attributes.
	maxHeaders = 4 << 20

	// fewEntries entries may have names of any length.
	fewEntries = 10_000

	// maxTail is the maximum number of bytes after the end of an archive: what GNU tar writes with a blocking factor of
	// 2048.
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

// A Tally counts what the layers of one image have, against its limits. It is safe for concurrent use.
type Tally struct {
	limits                           Limits
	entries, archive, declared, name atomic.Int64
}

// NewTally returns a Tally with all counts at zero.
func NewTally(l Limits) *Tally { return &Tally{limits: l.withDefaults()} }

// Limits returns the limits, with the defaults filled in.
func (t *Tally) Limits() Limits { return t.limits }

// Counts are the counts of a Tally: entries, bytes of archives, bytes of files, and bytes of names and attributes.
type Counts struct{ entries, archive, declared, names int64 }

// Counts returns the current counts.
func (t *Tally) Counts() Counts {
	return Counts{t.entries.Load(), t.archive.Load(), t.declared.Load(), t.name.Load()}
}

// Add adds what another Tally, of one layer, counted between two calls of Counts.
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

// Entry counts an entry of the image, or a directory implied by an entry.
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

// count adds n, which must not exceed limit. A refused n is subtracted again, so that the counter cannot overflow.
func count(c *atomic.Int64, n int64, what string, limit int64) error {
	if n <= limit && c.Add(n) <= limit {
		return nil
	}
	if n <= limit {
		c.Add(-n)
	}
	return &LimitError{what, limit}
}

// path checks the length of a path and of its components, and its depth.
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

// A LimitError reports that an image exceeds a limit.
type LimitError struct {
	What  string
	Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: more than the limit of %d", e.What, e.Limit)
}
