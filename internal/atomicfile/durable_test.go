package atomicfile_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"osbuild-containers/internal/atomicfile"
	"osbuild-containers/test/calls"
)

// target is the environment variable with the file that the test executable replaces.
const target = "OSBUILD_CONTAINERS_TEST_TARGET"

func TestMain(m *testing.M) {
	calls.Main()
	if path := os.Getenv(target); path != "" {
		if err := atomicfile.Replace(path, []byte("new")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestReplaceIsDurable checks the order of calls: the content is synced before the file has its name, and the name before
// Replace returns. After an error of any of these calls, the file has its old content.
func TestReplaceIsDurable(t *testing.T) {
	for name, c := range map[string]struct {
		old  string // "": no file
		fail string // call that fails
		want []string
		is   string // content afterwards
	}{
		"new":             {"", "", []string{"write", "fsync file", "linkat", "fsync directory"}, "new"},
		"existing":        {"old", "", []string{"write", "fsync file", "linkat", "linkat", "renameat", "fsync directory"}, "new"},
		"full disk":       {"old", "write", []string{"write"}, "old"},
		"sync fails":      {"old", "fsync file", []string{"write", "fsync file"}, "old"},
		"link fails":      {"old", "linkat", []string{"write", "fsync file", "linkat"}, "old"},
		"rename fails":    {"old", "renameat", []string{"write", "fsync file", "linkat", "linkat", "renameat", "unlinkat"}, "old"},
		"name not synced": {"old", "fsync directory", []string{"write", "fsync file", "linkat", "linkat", "renameat", "fsync directory"}, "new"},
	} {
		dir, err := filepath.EvalSymlinks(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "file")
		if c.old != "" {
			if err := os.WriteFile(path, []byte(c.old), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), target+"="+path)
		var made []string
		w := calls.Start(t, cmd, func(call calls.Call) calls.Verdict {
			what := call.Name
			switch {
			case call.Path == dir && what == "fsync":
				what += " directory"
			case !call.Below(dir):
				return calls.Continue
			case what == "fsync":
				what += " file"
			}
			made = append(made, what)
			if what == c.fail {
				return syscall.EIO
			}
			return calls.Continue
		}, "write", "fsync", "linkat", "renameat", "unlinkat")
		err = w.Wait()
		if (err != nil) != (c.fail != "") {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.Equal(made, c.want) {
			t.Errorf("%s: calls %s, want %s", name, strings.Join(made, ", "), strings.Join(c.want, ", "))
		}
		if got, _ := os.ReadFile(path); string(got) != c.is {
			t.Errorf("%s: content %q, want %q", name, got, c.is)
		}
		if names, _ := os.ReadDir(dir); len(names) != 1 {
			t.Errorf("%s: %d names in the directory", name, len(names))
		}
	}
}
