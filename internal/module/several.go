package module

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"osbuild-containers/internal/process"
)

// Several is an executable that is several modules, installed under the name of each of them as hard links to one
// file: it is the module that it is started as. The names must differ, so a source and a stage of the same name are
// not in the same executable.
type Several []interface {
	called() string
	Main(ctx context.Context, env Env) int
}

func (s Source) called() string { return s.Name }
func (s Stage) called() string  { return s.Name }

// Main runs the module whose name is the base name of arg0, the zeroth argument of the process, or else of the
// executable: arg0 is what the caller writes there. It returns the exit status.
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
