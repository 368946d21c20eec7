package cli

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
)

// TestCacheErrorsHaveHints pairs errors of a command with what a user is advised to do.
func TestCacheErrorsHaveHints(t *testing.T) {
	const writable = "the cache must be writable: check its mount and its permissions"
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
