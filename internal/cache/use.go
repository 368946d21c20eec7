package cache

import (
	"context"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// useGrain is the precision of the time of use: an access time is updated at most this often.
const useGrain = time.Hour

// Use records that the image was used, at most once an hour. It sets the access time of the version file, which is
// not read otherwise. In a read-only cache it does nothing.
func (p *Published) Use() {
	if p.used == 0 && !p.Has(nil) || time.Since(time.Unix(p.used, 0)) < useGrain {
		return
	}
	now := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_OMIT}}
	_ = unix.UtimesNanoAt(p.image.fd(), versionFile, now, unix.AT_SYMLINK_NOFOLLOW)
}

// UseFile records that the manifest list was used, at most once an hour, in its modification time. It takes the lock
// of the lists, so it waits for a running RemoveFile.
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

// Used returns when the image was last used, as recorded by Use, or published if that is later.
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

// CheckVersion returns an error if the version file is missing or has other content. It does not count as use.
func (p *Published) CheckVersion() error {
	flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := unix.Openat(p.image.fd(), versionFile, flags|unix.O_NOATIME, 0)
	if err == unix.EPERM { // another user's file
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
