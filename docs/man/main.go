// Command man writes the manual pages and the shell completions of osbuild-containers into a directory.
//
// The pages of commands are generated from the command tree of the executable, those of modules and the pin file from
// their schemas. Texts that neither has, on files, environment variables and examples, are in this package. The date of
// the pages is SOURCE_DATE_EPOCH.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"osbuild-containers/internal/cli"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: man DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

// manual has all pages, by path.
type manual struct {
	date  string
	pages map[string]*page
}

func newManual(date string) (manual, error) {
	m := manual{date, map[string]*page{}}
	m.addCommand(cli.Root())
	if err := m.addPinFile(); err != nil {
		return m, err
	}
	return m, m.addModules()
}

// write creates man1, man5, man8 and completions in dir. Directories of an earlier run are replaced.
func write(dir string) error {
	date := ""
	if epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		date = time.Unix(epoch, 0).UTC().Format(time.DateOnly)
	}
	m, err := newManual(date)
	if err != nil {
		return err
	}
	for _, old := range []string{"man1", "man5", "man8", "completions"} {
		if err := os.RemoveAll(filepath.Join(dir, old)); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(dir, old), 0o755); err != nil {
			return err
		}
	}
	for path, p := range m.pages {
		if err := os.WriteFile(filepath.Join(dir, path), []byte(p.text.String()), 0o644); err != nil {
			return err
		}
	}
	for shell, name := range map[string]string{"bash": cli.Name + ".bash", "fish": cli.Name + ".fish", "zsh": "_" + cli.Name} {
		var script bytes.Buffer
		env := cli.Env{Args: []string{"completion", shell}, Stdout: &script, Stderr: os.Stderr}
		if status := cli.Main(context.Background(), env); status != 0 {
			return fmt.Errorf("completion %s: status %d", shell, status)
		}
		if err := os.WriteFile(filepath.Join(dir, "completions", name), script.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
