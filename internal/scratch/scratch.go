// Package scratch creates temporary files and directories.
package scratch

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir creates a directory for a few small files, such as those of an open containers storage. If possible it is not on an overlay
// file system, as /tmp in a container is: no overlay storage, not even an empty one, can be opened there. The caller must
// remove it.
func Dir() (string, error) {
	last := ""
	var errs []error
	for _, in := range []string{os.TempDir(), "/tmp", "/var/tmp", "/dev/shm", "/run"} {
		var fs unix.Statfs_t
		err := unix.Statfs(in, &fs)
		if err == nil && strings.ContainsAny(in, ",:") { // separators in the storage's options
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
