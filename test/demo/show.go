package main

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

const columns = 80

var longHex = regexp.MustCompile(`([0-9a-f]{8})[0-9a-f]{56}`)

// shorten cuts digests to keep lines short.
func shorten(s string) string { return longHex.ReplaceAllString(s, "$1…") }

// indented prefixes each line of text with a mark, and folds lines at spaces to the width of a terminal.
func indented(mark, text string) string {
	var b strings.Builder
	width := columns - len([]rune(mark))
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		rest := []rune(strings.TrimRight(line, "\n"))
		for len(rest) > width {
			at := width
			for at > width/2 && rest[at] != ' ' {
				at--
			}
			if rest[at] != ' ' { // no space to fold at
				at = width
			}
			b.WriteString(mark + string(rest[:at]) + "\n")
			rest = []rune("    " + strings.TrimLeft(string(rest[at:]), " "))
		}
		b.WriteString(mark + string(rest) + "\n")
	}
	return b.String()
}

// tree lists the files below dir with their sizes and all names: hard links show that a layer is stored once.
func tree(dir string) (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name := strings.Repeat("  ", strings.Count(rel, "/")) + shorten(d.Name())
		if d.IsDir() {
			fmt.Fprintf(&b, "%s/\n", name)
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%-40s %10d bytes%s\n", name, info.Size(), names(info))
		return nil
	})
	return b.String(), err
}

func names(info fs.FileInfo) string {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Nlink < 2 {
		return ""
	}
	return fmt.Sprintf(", %d names", stat.Nlink)
}
