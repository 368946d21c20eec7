// Command man writes the manual pages and the shell completions of osbuild-containers, made of the
// same tree of commands that the executable runs, into a directory.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra/doc"

	"osbuild-containers/internal/cli"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: man FOLDER")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

// write makes dir/man1 and dir/completions, the same bytes whenever it runs.
func write(dir string) error {
	root := cli.Root()
	man, completions := filepath.Join(dir, "man1"), filepath.Join(dir, "completions")
	for _, d := range []string{man, completions} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	header := &doc.GenManHeader{Section: "1", Manual: "User Commands", Source: cli.Name}
	if err := doc.GenManTree(root, header, man); err != nil {
		return err
	}
	for shell, name := range map[string]string{"bash": cli.Name + ".bash", "fish": cli.Name + ".fish", "zsh": "_" + cli.Name} {
		var script bytes.Buffer
		env := cli.Env{Args: []string{"completion", shell}, Stdout: &script, Stderr: os.Stderr}
		if status := cli.Main(context.Background(), env); status != 0 {
			return fmt.Errorf("completion %s: status %d", shell, status)
		}
		if err := os.WriteFile(filepath.Join(completions, name), script.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
