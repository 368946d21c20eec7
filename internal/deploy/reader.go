package deploy

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/layer"
	"osbuild-containers/internal/tree"
)

// reader reads one layer: what was read ahead first, if anything was, and then the stream.
type reader struct {
	k       int
	ahead   *ahead
	cancel  context.CancelFunc
	stream  *layer.Stream
	entries *layer.Reader
	tally   *layer.Tally
	began   time.Time

	skip int // entries of the stream that next has returned already

	// Of reading ahead.
	dir     *tree.Root    // for the directories that the files are in
	files   int           // how many were begun
	stop    atomic.Bool   // it is the layer's turn
	ended   chan struct{} // closed when reading ahead has; nil: there was none
	failed  bool          // the disk did not take it
	stopped bool          // the stream has more, and holds memory
	queue   []*readAhead
	err     error // at the end of the queue; nil: the stream has more

	counts  layer.Counts // up to the entry that next returned
	cur     *readAhead   // that entry, if it was read ahead
	content *os.File     // of cur
	zeros   int64        // bytes of the entry's content that are still to be returned as zeros; -1: it is read
}

// readAhead is an entry that was read ahead.
type readAhead struct {
	entry  *layer.Entry
	counts layer.Counts
	memory int64

	written bool  // its content was read, to a file
	file    int   // the number of that file
	whole   bool  // the file has all of it, and its metadata
	err     error // of reading the content, after what the file has
}

// path returns where the file is in the layer's scratch directory.
func (p *readAhead) path() string {
	return strconv.Itoa(p.file/filesPerDir) + "/" + strconv.Itoa(p.file)
}

// start begins to decompress the layer.
func (r *reader) start() {
	d := r.ahead.d
	ctx, cancel := context.WithCancel(r.ahead.ctx)
	r.cancel, r.tally = cancel, layer.NewTally(d.limits)
	r.stream = layer.StartAhead(ctx, d.layers[r.k-1], r.ahead.budget, r.tally)
	r.entries = r.stream.Entries()
}

// read reads ahead.
func (r *reader) read() {
	buf := make([]byte, bufferSize)
	for !r.stop.Load() && r.ahead.room(1) {
		r.ahead.d.pause(0)
		var e *layer.Entry
		if e, r.err = r.entries.Next(); r.err != nil {
			return
		}
		e.Clone()
		p := &readAhead{entry: e, counts: r.tally.Counts(), memory: memoryOf(e)}
		r.queue = append(r.queue, p)
		r.ahead.memory.Add(p.memory)
		if !hasContent(e) || r.sizeOnly(e) {
			continue
		}
		if r.dir == nil || r.ahead.disk.Load()+e.Size > r.ahead.d.limits.LayerBytes {
			return // its content is still in the stream
		}
		r.write(p, buf)
		if r.failed || r.err != nil {
			return
		}
	}
}

// sizeOnly reports whether zeros are as good as the content of an entry: where only sizes count, except for sparse
// files, whose content decides how much is stored.
func (r *reader) sizeOnly(e *layer.Entry) bool { return r.ahead.d.opt.SizesOnly && !e.Sparse }

// hasContent reports whether the content of an entry may be written.
func hasContent(e *layer.Entry) bool {
	what, _, err := parse(clean(e.Name))
	return e.Type == layer.File && what == plain && err == nil
}

// write writes a file to the scratch directory. An error of its metadata comes up again when
// the file gets its name, if it gets one.
func (r *reader) write(p *readAhead, buf []byte) {
	p.written = true
	r.ahead.disk.Add(p.entry.Size)
	// What is lost is counted when the file gets its name.
	m, invalid := r.ahead.d.metaOf(p.entry, func(string, string, string) {})
	if invalid != nil {
		m = Meta{Mode: 0o600}
	}
	f, err := r.create(p, m)
	if err != nil {
		r.failed = true
		return
	}
	unread, err := fill(f, r.entries, buf, r.ahead.d.pause)
	switch {
	case unread:
		p.err, r.err = err, err
		f.Abort()
	case err != nil:
		r.failed = true
		f.Abort()
	default:
		p.whole = f.Close() == nil && invalid == nil
	}
}

// create makes the next file, and a directory where the last is full.
func (r *reader) create(p *readAhead, m Meta) (*tree.File, error) {
	p.file = r.files
	r.files++
	if p.file%filesPerDir == 0 {
		if _, err := r.dir.Mkdir(strconv.Itoa(p.file / filesPerDir)); err != nil {
			return nil, err
		}
	}
	return r.dir.Create(p.path(), p.entry.Sparse, m)
}

// next returns the next entry. Its content is what Read returns then.
func (r *reader) next() (*layer.Entry, error) {
	e, err := r.entry()
	r.zeros = -1
	if err == nil && r.sizeOnly(e) {
		r.zeros = e.Size
	}
	return e, err
}

func (r *reader) entry() (*layer.Entry, error) {
	if r.cur != nil {
		if err := r.drop(); err != nil {
			return nil, err
		}
	}
	if len(r.queue) > 0 {
		r.cur, r.queue[0], r.queue = r.queue[0], nil, r.queue[1:]
		r.counts = r.cur.counts
		return r.cur.entry, nil
	}
	e, err := (*layer.Entry)(nil), r.err
	if err == nil {
		e, err = r.entries.Next()
	}
	for err == nil && e.Index < r.skip {
		e, err = r.entries.Next()
	}
	r.counts = r.tally.Counts()
	return e, err
}

// rewind discards the queue, so that next reads the layer again, from the entry on that is next.
func (r *reader) rewind() {
	if r.cur != nil {
		r.skip = r.cur.entry.Index + 1
	}
	r.end()
	r.err = nil
	r.start()
	r.stream.Prioritize()
}

// end ends the stream and empties the queue.
func (r *reader) end() {
	r.cancel()
	r.stream.Close()
	for _, p := range r.queue {
		_ = r.remove(p) // at the end all are removed
	}
	r.queue = nil
}

// remove removes an entry that was read ahead, with its file if that has no name in the tree.
func (r *reader) remove(p *readAhead) error {
	r.ahead.memory.Add(-p.memory)
	if !p.written {
		return nil
	}
	r.ahead.disk.Add(-p.entry.Size)
	return r.dir.Remove(p.path())
}

// moveTo gives the file that was read ahead its name. moved is false when there is none, or
// none that can be moved: then its content can be read.
func (r *reader) moveTo(t *tree.Root, name string) (moved bool, err error) {
	if r.cur == nil || !r.cur.whole {
		return false, nil
	}
	if err := t.Move(name, r.dir, r.cur.path()); err != nil {
		if errors.Is(err, unix.EXDEV) { // a mount in the tree, or a directory with another label
			err = nil
		}
		return false, err
	}
	r.ahead.disk.Add(-r.cur.entry.Size)
	r.cur.written = false
	return true, nil
}

// Read reads the content of the entry that next returned.
func (r *reader) Read(p []byte) (n int, err error) {
	if r.zeros >= 0 {
		b, err := r.zero(len(p))
		return copy(p, b), err
	}
	if r.cur == nil || !r.cur.written {
		return r.entries.Read(p)
	}
	if r.content == nil {
		if r.content, err = r.dir.OpenFile(r.cur.path()); err != nil {
			return 0, err
		}
	}
	n, err = r.content.Read(p)
	if err == io.EOF && r.cur.err != nil {
		err = r.cur.err
	}
	return n, err
}

// Piece is Read that may return memory of the stream instead of buf.
func (r *reader) Piece(buf []byte) ([]byte, error) {
	if r.zeros >= 0 {
		return r.zero(len(buf))
	}
	if r.cur == nil || !r.cur.written {
		return r.entries.Piece(buf)
	}
	n, err := r.Read(buf)
	return buf[:n], err
}

var zeros [bufferSize]byte

// zero returns zeros in the place of content.
func (r *reader) zero(most int) ([]byte, error) {
	if r.zeros == 0 {
		return nil, io.EOF
	}
	n := min(r.zeros, int64(most), bufferSize)
	r.zeros -= n
	return zeros[:n], nil
}

// drop removes what was read ahead of the last entry and is not in the tree.
func (r *reader) drop() error {
	p := r.cur
	r.cur = nil
	if r.content != nil {
		_ = r.content.Close()
		r.content = nil
	}
	return r.remove(p)
}

// close ends reading, and removes what was written and has no name.
func (r *reader) close() {
	r.cancel()
	if r.ended != nil {
		<-r.ended
	}
	r.end()
	if r.cur != nil {
		_ = r.drop()
	}
	if r.dir != nil {
		_ = r.dir.Close()
	}
}

// memoryOf is what an entry takes that is in a queue.
func memoryOf(e *layer.Entry) int64 {
	n := int64(unsafe.Sizeof(readAhead{})) + int64(unsafe.Sizeof(*e)) + 8 + int64(len(e.Name)+len(e.Link))
	for name, value := range e.Xattrs {
		n += attributeBytes(name, value)
	}
	return n
}
