package cli

import (
	"cmp"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	"golang.org/x/term"

	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
)

// width is the maximum width of text output, in columns.
const width = 80

// terminalWidth returns the number of columns if w is a terminal, or 0.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	switch {
	case err != nil:
		return 0
	case columns == 0: // a terminal without a size, such as a serial line
		return width
	}
	return columns
}

// column describes a column of a table.
type column struct {
	name  string
	right bool // right-aligned
	most  int  // longer cells are cut; 0: no limit
}

// align formats a table with column names, as wide as needed and safe for a terminal.
func align(columns []column, rows [][]string) []string {
	all := [][]string{make([]string, len(columns))}
	widths := make([]int, len(columns))
	for n, c := range columns {
		all[0][n] = c.name
	}
	for _, row := range rows {
		cut := make([]string, len(row))
		for n, cell := range row {
			if cut[n] = progress.Clean(cell); columns[n].most > 0 {
				cut[n] = cutEnd(cut[n], columns[n].most)
			}
		}
		all = append(all, cut)
	}
	for _, row := range all {
		for n, cell := range row {
			widths[n] = max(widths[n], utf8.RuneCountInString(cell))
		}
	}
	lines := make([]string, len(all))
	for i, row := range all {
		var b strings.Builder
		for n, cell := range row {
			space := strings.Repeat(" ", widths[n]-utf8.RuneCountInString(cell))
			switch {
			case columns[n].right:
				b.WriteString(space + cell)
			default:
				b.WriteString(cell + space)
			}
			if n+1 < len(row) {
				b.WriteString("  ")
			}
		}
		lines[i] = strings.TrimRight(b.String(), " ")
	}
	return lines
}

// cutEnd shortens s to at most most characters, with an ellipsis.
func cutEnd(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}

// cutStart is cutEnd for names, whose end is most significant.
func cutStart(s string, most int) string {
	n := utf8.RuneCountInString(s)
	if n <= most {
		return s
	}
	return "…" + string([]rune(s)[n-most+1:])
}

// field formats a label followed by lines of values, aligned. Long values are broken at spaces where possible.
func field(label string, indent int, values ...string) string {
	var b strings.Builder
	lead := label + strings.Repeat(" ", max(1, indent-utf8.RuneCountInString(label)))
	for _, value := range values {
		rest := []rune(progress.Clean(value))
		for {
			n := lineEnd(rest, width-indent)
			b.WriteString(strings.TrimRight(lead+string(rest[:n]), " ") + "\n")
			lead = strings.Repeat(" ", indent)
			if rest = rest[n:]; len(rest) == 0 {
				break
			}
		}
	}
	return b.String()
}

// lineEnd returns how many characters of a text fit into one line.
func lineEnd(text []rune, most int) int {
	if len(text) <= most {
		return len(text)
	}
	for n := most; n > most/2; n-- {
		if text[n-1] == ' ' {
			return n
		}
	}
	return most
}

// size is a number of bytes with a verb, such as "copied".
type size struct {
	bytes int64
	what  string
}

// sizes formats the sizes that are not zero. It returns "" if all are.
func sizes(all ...size) string {
	var parts []string
	for _, s := range all {
		if s.bytes != 0 {
			parts = append(parts, progress.Bytes(s.bytes)+" "+s.what)
		}
	}
	return strings.Join(parts, ", ")
}

// summary formats the last line of a table: the number of items in each state, and their bytes.
func (a *app) summary(states []string, all ...size) error {
	line := strings.Join(states, ", ")
	if bytes := sizes(all...); bytes != "" {
		line += ": " + bytes
	}
	return a.print("%s\n", line)
}

// date formats a day, or "-" for none.
func date(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02")
}

// moment formats a time, or "-" for none.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// short formats a digest for tables, or "-" for none.
func short(d digest.Digest) string { return cmp.Or(manifest.Short(d), "-") }
