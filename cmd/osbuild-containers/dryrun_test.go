package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/cli"
)

// unchanged implements the command unchanged.
func unchanged(ts *testscript.TestScript, _ bool, args []string) {
	before := states(ts)
	ts.Check(ts.Exec(args[0], args[1:]...))
	after := states(ts)
	for path := range maps.Keys(after) {
		if _, ok := before[path]; !ok {
			before[path] = "absent"
		}
	}
	var changed []string
	for path, was := range before {
		if is := after[path]; is != was {
			changed = append(changed, fmt.Sprintf("%s: was %s, is %s", path, was, is))
		}
	}
	if slices.Sort(changed); changed != nil {
		ts.Fatalf("it changed:\n%s", strings.Join(changed, "\n"))
	}
}

// states returns the state of all files and directories of a script, those for temporary files and the home directory
// among them. The times are those of the last changes: a file that was made and removed again changes its directory's.
func states(ts *testscript.TestScript) map[string]string {
	all := map[string]string{}
	ts.Check(filepath.WalkDir(ts.MkAbs("."), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		all[path] = fmt.Sprintf("inode %d, mode %o, links %d, size %d, changed %d.%09d", st.Ino, st.Mode, st.Nlink, st.Size, st.Ctim.Sec, st.Ctim.Nsec)
		return nil
	}))
	return all
}

// Every command that can change something has --dry-run, and the script dry_run tests that nothing changes with it. The
// script shows of the other commands that they change nothing.
func TestEveryCommandHasADryRun(t *testing.T) {
	script, err := os.ReadFile("testdata/script/dry_run.txtar")
	if err != nil {
		t.Fatal(err)
	}
	tested := map[*cobra.Command]bool{}
	root := cli.Root()
	for line := range strings.Lines(string(script)) {
		args := strings.Fields(line)
		if len(args) < 2 || args[0] != "unchanged" || args[1] != cli.Name {
			continue
		}
		cmd, _, err := root.Find(args[2:])
		if err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		if slices.Contains(args, "--dry-run") || cmd.Flags().Lookup("dry-run") == nil {
			tested[cmd] = true
		}
	}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Runnable() && !tested[cmd] {
			t.Errorf("the script dry_run has no line for %q", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
}
