package module

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"osbuild-containers/internal/process"
)

// Several is one executable that contains several modules. It is installed under the name of each module, as hard
// links to one file, and runs the module whose name it is started with. The names must differ, so a source and a
// stage of the same name cannot share an executable.
type Several []interface {
	called() string
	Main(ctx context.Context, env Env) int
}

func (s Source) called() string { return s.Name }
func (s Stage) called() string  { return s.Name }

// Main runs the module named by the base name of arg0 (the process's argv[0], which the caller controls), or else
// by that of the executable. It returns the exit status.
func (s Several) Main(ctx context.Context, env Env, arg0 string) int {
	executable, _ := os.Executable()
	for _, path := range []string{arg0, executable} {
		for _, m := range s {
			if m.called() == filepath.Base(path) {
				return m.Main(ctx, env)
			}
		}
	}
	names := make([]string, len(s))
	for i, m := range s {
		names[i] = m.called()
	}
	fmt.Fprintf(env.Stderr, "%s: not the name of a module in this executable, want %s\n", arg0, strings.Join(names, ", "))
	return process.Refused
}
