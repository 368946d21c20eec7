package atomicfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ErrForeign is returned by Resume if the partial file cannot be trusted, or another process is writing it.
var ErrForeign = errors.New("the partial file cannot be resumed")

// Resume is CreateIn for a file whose content is kept under the name partial when the process dies or calls Keep. The file starts
// with the content kept by an earlier call, which the caller must not trust: it may belong to something else, or be damaged by a
// crash. The file is locked while it is open. A file that another user could have written is not used.
func Resume(in *os.File, base, partial string) (*File, error) {
	dir, err := unix.Openat(int(in.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := &File{dir: dir, base: base}
	if err := f.resume(partial); err != nil {
		f.Discard()
		return nil, err
	}
	f.temp = partial
	return f, nil
}

func (f *File) resume(partial string) error {
	var st, named unix.Stat_t
	if err := unix.Fstatat(f.dir, f.base, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.EISDIR
	}
	flags := unix.O_RDWR | unix.O_CREAT | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := unix.Openat(f.dir, partial, flags, 0o600)
	if err == unix.ELOOP || err == unix.EACCES || err == unix.EISDIR {
		return ErrForeign
	}
	if err != nil {
		return err
	}
	f.File = os.NewFile(uintptr(fd), f.base)
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return ErrForeign
	}
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 || int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return ErrForeign
	}
	// The process that held the lock may have given the file its final name.
	if err := unix.Fstatat(f.dir, partial, &named, unix.AT_SYMLINK_NOFOLLOW); err != nil || named.Ino != st.Ino || named.Dev != st.Dev {
		return ErrForeign
	}
	return nil
}

// Keep closes a file opened by Resume and keeps its content for the next call.
func (f *File) Keep() error {
	f.temp = ""
	return f.Close()
}
