// Package scratch finds room for temporary files.
package scratch

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir makes a directory for some small files, such as those of a containers storage while it is open. It avoids overlay
// file systems, which /tmp of a container is on, if there is a choice: an overlay storage cannot be opened there, not
// even an empty one. The caller removes it.
func Dir() (string, error) {
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
