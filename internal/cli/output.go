package cli

import (
	"encoding/json"
	"fmt"
	"io"
)

// json prints a value as indented JSON with a final newline.
func (a *app) json(answer any) error {
	enc := json.NewEncoder(a.env.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(answer); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// print formats text to standard output.
func (a *app) print(format string, args ...any) error {
	if _, err := io.WriteString(a.env.Stdout, fmt.Sprintf(format, args...)); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}
