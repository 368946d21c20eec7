package unpack

import (
	"archive/tar"
	"bufio"
	"cmp"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/deploy"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/pack"
)

// Limits of what a tarWriter queues in memory.
const (
	queueBytes   = 32 << 20
	queueEntries = 50_000
)

// maxSearched bounds the work caused by malicious images.
const maxSearched = 100_000_000

// A tarWriter is a deploy.Destination that writes the merged tree as one archive. Contents are written as they arrive, so
// files are in deploy's order: those of the top layer first. Directories follow, sorted, each with its symbolic links: an
// extracting program then changes no directory after setting its time and mode except for the symbolic links, and GNU tar,
// which creates those at the end, restores the times of directories that came before them.
//
// The last files, some tens of megabytes, are queued, since their layer may still replace or remove them. Replacing or
// removing a file that has been written is an error.
type tarWriter struct {
	tw  *tar.Writer
	out *bufio.Writer

	queue  []*tarEntry
	queued map[string]*tarEntry
	bytes  int64

	seed     maphash.Seed
	written  map[uint64]fingerprint // files, by hash of the name
	above    map[uint64]struct{}    // hashes of their directories
	symlinks map[string]*tarFile
	dirs     []tarDir
	searched int // names compared to remove directories
}

// tarDir is a directory not written yet.
type tarDir struct {
	name string // with a trailing slash, so that its content sorts after it
	meta deploy.Meta
}

// tarEntry is a name not written yet. file is nil if it was removed.
type tarEntry struct {
	name string
	file *tarFile
}

// tarFile is a file with one or more names.
type tarFile struct {
	header tar.Header // without name and size
	meta   deploy.Meta
	data   []byte
	first  string // its first name in the archive, once written
	print  fingerprint
}

// fingerprint identifies metadata that was written.
type fingerprint struct{ plain, xattrs uint64 }

func newTarWriter(w io.Writer) *tarWriter {
	out := bufio.NewWriterSize(w, 128<<10)
	return &tarWriter{
		tw: tar.NewWriter(out), out: out, queued: map[string]*tarEntry{}, seed: maphash.MakeSeed(),
		written: map[uint64]fingerprint{}, above: map[uint64]struct{}{}, symlinks: map[string]*tarFile{},
	}
}

// Close completes the archive.
func (t *tarWriter) Close() error {
	if err := t.flush(); err != nil {
		return err
	}
	if err := t.writeDirs(); err != nil {
		return err
	}
	if err := t.tw.Close(); err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	if err := t.out.Flush(); err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	return nil
}

// writeDirs writes the directories with their symbolic links.
func (t *tarWriter) writeDirs() error {
	links := map[string][]string{}
	for name := range t.symlinks {
		dir, _ := path.Split(name)
		links[cmp.Or(dir, "./")] = append(links[cmp.Or(dir, "./")], name)
	}
	slices.SortFunc(t.dirs, func(a, b tarDir) int { return strings.Compare(a.name, b.name) })
	for _, d := range t.dirs {
		if err := t.write(&tar.Header{Typeflag: tar.TypeDir, Name: d.name}, &d.meta); err != nil {
			return err
		}
		slices.Sort(links[d.name])
		for _, name := range links[d.name] {
			if err := t.put(name, t.symlinks[name]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Mkdir implements deploy.Destination. It leaves everything to SetDir.
func (t *tarWriter) Mkdir(string) (there bool, err error) { return false, nil }

// SetDir implements deploy.Destination.
func (t *tarWriter) SetDir(name string, m deploy.Meta, _ bool) error {
	t.dirs = append(t.dirs, tarDir{name + "/", m})
	return nil
}

// Symlink implements deploy.Destination.
func (t *tarWriter) Symlink(name, target string, m deploy.Meta) error {
	m.Mode = 0o777
	t.symlinks[name] = &tarFile{header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: target}, meta: m}
	return nil
}

// Mknod implements deploy.Destination.
func (t *tarWriter) Mknod(name string, kind, major, minor uint32, m deploy.Meta) error {
	h := tar.Header{Typeflag: tar.TypeFifo}
	switch kind {
	case unix.S_IFCHR:
		h.Typeflag = tar.TypeChar
	case unix.S_IFBLK:
		h.Typeflag = tar.TypeBlock
	}
	h.Devmajor, h.Devminor = int64(major), int64(minor)
	return t.add(name, &tarFile{header: h, meta: m})
}

// Link implements deploy.Destination.
func (t *tarWriter) Link(name, old string) error {
	if e := t.queued[old]; e != nil {
		return t.add(name, e.file)
	}
	if f := t.symlinks[old]; f != nil {
		t.symlinks[name] = f
		return nil
	}
	return t.add(name, &tarFile{first: old, print: t.written[t.hash(old)]})
}

// add queues an entry.
func (t *tarWriter) add(name string, f *tarFile) error {
	e := &tarEntry{name, f}
	t.queue = append(t.queue, e)
	t.queued[name] = e
	if len(t.queue) < queueEntries {
		return nil
	}
	return t.flush()
}

// SetMeta implements deploy.Destination.
func (t *tarWriter) SetMeta(name string, m deploy.Meta, link bool) error {
	if f := t.symlinks[name]; f != nil {
		m.Mode = 0o777
		f.meta = deploy.Overlay(f.meta, m, link)
		return nil
	}
	e := t.queued[name]
	if e != nil && e.file.first == "" {
		e.file.meta = deploy.Overlay(e.file.meta, m, link)
		return nil
	}
	was := t.written[t.hash(name)]
	if e != nil {
		was = e.file.print
	}
	is := t.fingerprint(&m)
	if was.plain == is.plain && (len(m.Xattrs) == 0 || was.xattrs == is.xattrs) {
		return nil
	}
	return tooLate(name, "a hard link to it has another owner, mode, time or attributes")
}

// Remove implements deploy.Destination.
func (t *tarWriter) Remove(name string) error {
	h := t.hash(name)
	if _, is := t.written[h]; is {
		return tooLate(name, "its layer replaces it, or it is excluded through a symbolic link")
	}
	if _, has := t.above[h]; has {
		return tooLate(name, "its layer replaces it, or it is excluded through a symbolic link")
	}
	remove := func(name string) {
		if e := t.queued[name]; e != nil {
			e.file = nil
		}
		delete(t.queued, name)
		delete(t.symlinks, name)
	}
	if t.queued[name] != nil || t.symlinks[name] != nil {
		remove(name)
		return nil
	}
	if t.searched += len(t.queued) + len(t.symlinks); t.searched > maxSearched {
		return tooLate(name, "its layers replace too many directories")
	}
	for other := range t.queued {
		if strings.HasPrefix(other, name+"/") {
			remove(other)
		}
	}
	for other := range t.symlinks {
		if strings.HasPrefix(other, name+"/") {
			remove(other)
		}
	}
	return nil
}

// tooLate returns the error for a change of a file that has been written.
func tooLate(name, why string) error {
	return hint.Add(fmt.Errorf("%q: it is already written to the archive, and %s", name, why),
		"unpack it with --format dir, and archive that")
}

// Readlink implements deploy.Destination.
func (t *tarWriter) Readlink(name string) (target string, ok bool) {
	f := t.symlinks[name]
	if f == nil {
		return "", false
	}
	return f.header.Linkname, true
}

// Create implements deploy.Destination.
func (t *tarWriter) Create(name string, size int64, sparse bool, m deploy.Meta) (deploy.File, error) {
	f := &tarFile{header: tar.Header{Typeflag: tar.TypeReg, Size: size}, meta: m}
	if sparse {
		return newSparse(t, name, f)
	}
	if size <= queueBytes/8 {
		if t.bytes += size; t.bytes > queueBytes {
			if err := t.flush(); err != nil {
				return nil, err
			}
			t.bytes = size
		}
		f.data = make([]byte, 0, size)
		return &queuedFile{t, name, f}, nil
	}
	if err := t.flush(); err != nil {
		return nil, err
	}
	h := f.header
	h.Name = name
	if err := t.write(&h, &m); err != nil {
		return nil, err
	}
	t.note(name, t.fingerprint(&m))
	return &streamedFile{t, name}, nil
}

// queuedFile is a file in memory.
type queuedFile struct {
	t    *tarWriter
	name string
	file *tarFile
}

func (f *queuedFile) Write(p []byte) (int, error) {
	f.file.data = append(f.file.data, p...)
	return len(p), nil
}

func (f *queuedFile) Close() error { return f.t.add(f.name, f.file) }
func (f *queuedFile) Abort()       {}

// streamedFile is a file whose header has been written.
type streamedFile struct {
	t    *tarWriter
	name string
}

func (f *streamedFile) Write(p []byte) (int, error) {
	n, err := f.t.tw.Write(p)
	if err != nil {
		return n, fmt.Errorf("write %q: %w", f.name, err)
	}
	return n, nil
}

func (f *streamedFile) Close() error { return nil }
func (f *streamedFile) Abort()       {}

// flush writes the queue.
func (t *tarWriter) flush() error {
	for _, e := range t.queue {
		if e.file == nil {
			continue
		}
		if err := t.put(e.name, e.file); err != nil {
			return err
		}
	}
	t.queue, t.bytes = t.queue[:0], 0
	clear(t.queued)
	return nil
}

// put writes one entry: the file, or a link to its first name.
func (t *tarWriter) put(name string, f *tarFile) error {
	if f.first != "" {
		t.note(name, f.print)
		h := f.header
		h.Typeflag, h.Linkname, h.Name, h.Size, h.Devmajor, h.Devminor = tar.TypeLink, f.first, name, 0, 0, 0
		return t.write(&h, &f.meta)
	}
	f.first, f.print = name, t.fingerprint(&f.meta)
	t.note(name, f.print)
	h := f.header
	h.Name = name
	if err := t.write(&h, &f.meta); err != nil {
		return err
	}
	if _, err := t.tw.Write(f.data); err != nil {
		return fmt.Errorf("write %q: %w", name, err)
	}
	f.data = nil
	return nil
}

// note records that a name has been written.
func (t *tarWriter) note(name string, f fingerprint) {
	t.written[t.hash(name)] = f
	for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
		h := t.hash(name[:i])
		if _, is := t.above[h]; is {
			return
		}
		t.above[h] = struct{}{}
	}
}

func (t *tarWriter) hash(name string) uint64 { return maphash.String(t.seed, name) }

func (t *tarWriter) fingerprint(m *deploy.Meta) fingerprint {
	type plain struct {
		uid, gid int
		mode     uint32
		sec      int64
		nsec     int
	}
	p := plain{m.UID, m.GID, m.Mode, m.ModTime.Unix(), m.ModTime.Nanosecond()}
	f := fingerprint{plain: maphash.Comparable(t.seed, p)}
	for _, name := range slices.Sorted(maps.Keys(m.Xattrs)) {
		f.xattrs = maphash.Comparable(t.seed, [3]any{f.xattrs, name, m.Xattrs[name]})
	}
	return f
}

// write writes a header.
func (t *tarWriter) write(h *tar.Header, m *deploy.Meta) error {
	h.Format = tar.FormatPAX
	h.Uid, h.Gid, h.Mode, h.ModTime = m.UID, m.GID, int64(m.Mode), m.ModTime
	if len(m.Xattrs) > 0 && h.PAXRecords == nil {
		h.PAXRecords = map[string]string{}
	}
	for name, value := range m.Xattrs {
		if err := pack.AddAttr(h.PAXRecords, name, value); err != nil {
			return fmt.Errorf("%q: %w", h.Name, err)
		}
	}
	if err := t.tw.WriteHeader(h); err != nil {
		return fmt.Errorf("write the archive: %q: %w", h.Name, err)
	}
	return nil
}
