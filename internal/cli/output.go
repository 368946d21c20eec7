package cli

import (
	"encoding/json"
	"fmt"
	"io"
)

// json writes an answer as indented JSON with a final newline.
func (a *app) json(answer any) error {
	enc := json.NewEncoder(a.env.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(answer); err != nil {
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
