package image

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Scratch makes a directory for what a containers storage keeps while it is open: some small
// files. It lies on no overlay file system, as /tmp does in a container, if there is a
// choice: an overlay storage cannot be opened there, not even an empty one.
func Scratch() (string, error) {
	last := ""
	var errs []error
	for _, in := range []string{os.TempDir(), "/tmp", "/var/tmp", "/dev/shm", "/run"} {
		var fs unix.Statfs_t
		err := unix.Statfs(in, &fs)
		if err == nil && strings.ContainsAny(in, ",:") { // the storage's options are lists
			err = errors.New("there is a comma or colon in its name")
		}
		if err == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
			last = cmp.Or(last, in)
			continue
		}
		if err == nil {
			var dir string
			if dir, err = os.MkdirTemp(in, "osbuild-containers-"); err == nil {
				return dir, nil
			}
		}
		errs = append(errs, fmt.Errorf("%s: %w", in, err))
	}
	if last != "" {
		return os.MkdirTemp(last, "osbuild-containers-")
	}
	return "", fmt.Errorf("there is no directory for temporary files; set TMPDIR: %w", errors.Join(errs...))
}
