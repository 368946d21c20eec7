package cache

import (
	"context"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// useGrain is the precision of the time of use: a time of access is written at most once in so long.
const useGrain = time.Hour

// Use records that the image was used, at most once an hour: as the time of access of its version file, which is not read
// for any other reason. Nothing else changes. It does nothing in a cache that cannot be written.
func (p *Published) Use() {
	var st unix.Stat_t
	if err := unix.Fstatat(p.image.fd(), versionFile, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || time.Since(time.Unix(st.Atim.Unix())) < useGrain {
		return
	}
	now := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_OMIT}}
	_ = unix.UtimesNanoAt(p.image.fd(), versionFile, now, unix.AT_SYMLINK_NOFOLLOW)
}

// UseFile records that the manifest list was used, as its time of modification, at most once an hour. It waits for the
// lock of the lists: a list that RemoveFile is about to remove is gone when UseFile returns.
func (c *Cache) UseFile(ctx context.Context, d digest.Digest) {
	files, err := c.openTop(filesDir)
	if err != nil {
		return
	}
	if s, err := files.stored(d.String(), d); err != nil || time.Since(s.Changed) < useGrain {
		return
	}
	unlock, err := c.lockLists(ctx)
	if err != nil {
		return
	}
	defer unlock()
	now := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_NOW}}
	_ = unix.UtimesNanoAt(files.fd(), d.String(), now, unix.AT_SYMLINK_NOFOLLOW)
}

// Used returns when the image was last used, as far as that is known: the later of Use and of its publication.
func (p *Published) Used() time.Time {
	var at time.Time
	var st unix.Stat_t
	if err := unix.Fstat(p.image.fd(), &st); err == nil {
		at = time.Unix(st.Mtim.Unix())
	}
	if err := unix.Fstatat(p.image.fd(), versionFile, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil {
		if used := time.Unix(st.Atim.Unix()); used.After(at) {
			at = used
		}
	}
	return at
}

// CheckVersion returns an error if the version file is missing or has another content. It does not count as use.
func (p *Published) CheckVersion() error {
	flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := unix.Openat(p.image.fd(), versionFile, flags|unix.O_NOATIME, 0)
	if err == unix.EPERM { // another user's
		fd, err = unix.Openat(p.image.fd(), versionFile, flags, 0)
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: versionFile, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	buf := make([]byte, len(version)+1)
	if n, err := unix.Pread(fd, buf, 0); err != nil || string(buf[:n]) != version {
		return errVersion
	}
	return nil
}
