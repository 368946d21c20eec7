package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

const columns = 80

var longHex = regexp.MustCompile(`([0-9a-f]{8})[0-9a-f]{56}`)

// shorten cuts digests, so that a line can be read.
func shorten(s string) string { return longHex.ReplaceAllString(s, "$1…") }

// indented prints text by lines, each behind a mark, folded at the width of a
// terminal.
func indented(mark, text string) string {
	var b strings.Builder
	width := columns - len([]rune(mark))
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		runes := []rune(strings.TrimRight(line, "\n"))
		for len(runes) > width {
			b.WriteString(mark + string(runes[:width]) + "\n")
			runes = runes[width:]
		}
		b.WriteString(mark + string(runes) + "\n")
	}
	return b.String()
}

// prettyJSON indents a JSON document and shortens its digests.
func prettyJSON(data []byte) string {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(data), "", "  "); err != nil {
		return string(data)
	}
	return shorten(b.String())
}

// tree lists the files below dir with their sizes, and the names of each: hard
// links show that a layer is stored once.
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
