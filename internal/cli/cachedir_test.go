package cli

import (
	"errors"
	"io/fs"
	"os/user"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
	"osbuild-containers/test/userns"
)

// TestCacheErrorsHaveHints pairs errors of a command with what a user is advised to do.
func TestCacheErrorsHaveHints(t *testing.T) {
	const writable = "the cache must be writable: check its mount and its permissions, or name another cache"
	denied := &fs.PathError{Op: "open", Path: "/cache/org.osbuild.containers/.pool/lock", Err: unix.EACCES}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"none":         {nil, ""},
		"of the cache": {denied, writable},
		"refused":      {refused(denied), writable},
		"with a hint":  {hint.Add(denied, "another"), "another"},
		"elsewhere":    {&fs.PathError{Op: "open", Path: "/caches", Err: unix.EACCES}, ""},
	} {
		a := &app{cache: "/cache"}
		sub := &cobra.Command{Use: "sub", RunE: func(*cobra.Command, []string) error { return c.err }}
		root := &cobra.Command{Use: "root"}
		root.AddCommand(sub)
		a.advise(root)
		err := sub.RunE(sub, nil)
		if got := hint.Of(err).Flag; got != c.want || !errors.Is(err, c.err) || exitStatus(err) != exitStatus(c.err) {
			t.Errorf("%s: got %v with the hint %q, want the hint %q", name, err, got, c.want)
		}
	}
}

// TestDefaultCacheOfUsers shows which cache an ordinary user has in which environment.
func TestDefaultCacheOfUsers(t *testing.T) {
	if !userns.Inside(t, userns.Ordinary()) {
		return
	}
	unset := rootCache // the user of the test may be in no file
	if u, err := user.Current(); err == nil {
		unset = filepath.Join(u.HomeDir, ".cache/osbuild/sources")
	}
	for _, c := range []struct{ home, xdg, want string }{
		{"/home/u", "", "/home/u/.cache/osbuild/sources"},
		{"/home/u", "/var/u", "/var/u/osbuild/sources"},
		{"/home/u", "relative", "/home/u/.cache/osbuild/sources"},
		{"", "/var/u", "/var/u/osbuild/sources"},
		{"", "relative", unset},
		{"", "", unset},
	} {
		t.Setenv("HOME", c.home)
		t.Setenv("XDG_CACHE_HOME", c.xdg)
		if got := defaultCache(); got != c.want {
			t.Errorf("HOME=%s XDG_CACHE_HOME=%s: got %s, want %s", c.home, c.xdg, got, c.want)
		}
	}
}
