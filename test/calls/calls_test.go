package calls

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

func TestMain(m *testing.M) {
	Main()
	if path := os.Getenv("CALLS_TEST_RENAME"); path != "" {
		if os.Rename(path, path+".new") != nil {
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestCallsAreShownAndBroken(t *testing.T) {
	for name, c := range map[string]struct {
		verdict Verdict
		renamed bool
		want    func(error) bool
	}{
		"continue": {Continue, true, func(err error) bool { return err == nil }},
		"fail":     {syscall.EXDEV, false, func(err error) bool { return status(err).ExitStatus() == 3 }},
		"kill":     {Kill, false, func(err error) bool { return status(err).Signal() == syscall.SIGKILL }},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a")
			if err := os.WriteFile(path, nil, 0o666); err != nil {
				t.Fatal(err)
			}
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(exe)
			cmd.Env = append(os.Environ(), "CALLS_TEST_RENAME="+path)
			var seen []string
			verdict := c.verdict
			w := Start(t, cmd, func(c Call) Verdict {
				if !c.Below(filepath.Dir(path)) {
					return Continue
				}
				seen = append(seen, c.String())
				return verdict
			}, "renameat")
			if err := w.Wait(); !c.want(err) {
				t.Errorf("it ended with %v", err)
			}
			if len(seen) != 1 || seen[0] != "renameat "+path+" "+path+".new" {
				t.Errorf("saw %q", seen)
			}
			if _, err := os.Stat(path + ".new"); (err == nil) != c.renamed {
				t.Errorf("renamed: %t, want %t", err == nil, c.renamed)
			}
		})
	}
}

func status(err error) syscall.WaitStatus {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return e.Sys().(syscall.WaitStatus)
	}
	return 0
}
