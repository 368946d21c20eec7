package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// json writes an answer as indented JSON with a line feed at its end.
func (a *app) json(answer any) error {
	enc := json.NewEncoder(a.env.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(answer); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// table writes rows in columns, headed by names in upper case.
func (a *app) table(names []string, rows [][]string) error {
	w := tabwriter.NewWriter(a.env.Stdout, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{names}, rows...) {
		fmt.Fprintln(w, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// print writes text of an answer.
func (a *app) print(format string, args ...any) error {
	if _, err := io.WriteString(a.env.Stdout, fmt.Sprintf(format, args...)); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}
