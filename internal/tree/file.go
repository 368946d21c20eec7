package tree

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// block is the granularity of holes, in bytes: the block size of nearly all file systems.
const block = 4096

// File is a regular file being written.
type File struct {
	root   *Root
	in     dir // copy of what it inherits: the directory may have been closed
	name   string
	fd     int
	sparse bool
	at     int64
	meta   Meta
}

// Create creates a regular file. It gets its metadata when it is closed; until then it grants no more access than m. In a
// sparse file, blocks of zeros become holes.
func (r *Root) Create(name string, sparse bool, m Meta) (*File, error) {
	parent, base := split(name)
	d, err := r.parent(parent, base)
	if err != nil {
		return nil, fail("create", name, err)
	}
	const flags = unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY
	mode := uint32(0o600)
	if m.UID == euid && m.GID == egid && len(m.Xattrs) == 0 && !d.setgid && !d.acl {
		mode = m.Mode & 0o777 // saves a chmod unless the umask changes it
	}
	var fd int
	try := func() error {
		var err error
		fd, err = openat2Mode(d.fd, base, flags, mode)
		return err
	}
	err = r.room(try)
	if err == unix.EEXIST {
		if err = d.clear(base); err == nil {
			err = r.room(try)
		}
	}
	if err != nil {
		return nil, fail("create", name, err)
	}
	return &File{root: r, in: dir{setgid: d.setgid, acl: d.acl}, name: name, fd: fd, sparse: sparse, meta: m}, nil
}

// Write implements io.Writer.
func (f *File) Write(p []byte) (int, error) {
	if f.sparse {
		return f.writeSparse(p)
	}
	return f.write(p)
}

func (f *File) write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		err := f.root.room(func() error {
			n, err := retry(func() (int, error) { return f.root.write(f.fd, p[done:]) })
			done += max(n, 0)
			return err
		})
		if err != nil {
			return done, fail("write", f.name, err)
		}
	}
	f.at += int64(done)
	return done, nil
}

// write is write(2). The Go runtime gives the processor of a call that takes longer than some 20 microseconds to another thread,
// which is right where the call waits. Filling the page cache is work for that processor: the threads would only compete, which
// costs 2 to 8 % of the time of a deployment. So the call keeps its processor there.
func (r *Root) write(fd int, p []byte) (int, error) {
	if !r.buffered {
		return unix.Write(fd, p)
	}
	//nolint:gosec // the kernel reads the bytes of p
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// writeSparse writes runs of blocks with data and skips blocks of zeros.
func (f *File) writeSparse(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, zero := run(p[done:], int(f.at%block))
		if zero {
			if _, err := unix.Seek(f.fd, int64(n), 1); err != nil {
				return done, fail("write", f.name, err)
			}
			f.at += int64(n)
		} else if m, err := f.write(p[done : done+n]); err != nil {
			return done + m, err
		}
		done += n
	}
	return done, nil
}

// run returns the length of the first run in p, block by block, and whether it is all zero. offset is the position of p within
// its first block.
func run(p []byte, offset int) (n int, zero bool) {
	for n < len(p) {
		end := min(n+block-(n+offset)%block, len(p))
		z := zeros(p[n:end])
		if n > 0 && z != zero {
			break
		}
		n, zero = end, z
	}
	return n, zero
}

func zeros(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// Close sets the metadata and closes the file.
func (f *File) Close() error {
	err := f.finish()
	if e := unix.Close(f.fd); err == nil && e != nil {
		err = e
	}
	if err != nil {
		return fail("file", f.name, err)
	}
	return nil
}

func (f *File) finish() error {
	if f.sparse {
		if err := unix.Ftruncate(f.fd, f.at); err != nil {
			return err
		}
	}
	return f.root.apply(f.fd, f.name, &f.meta, &f.in, false)
}

// Abort closes an incomplete file.
func (f *File) Abort() { _ = unix.Close(f.fd) }
