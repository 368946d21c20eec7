package request

import (
	"fmt"
	"slices"
	"strings"
)

const (
	shown = 20   // problems that an Error's text names
	kept  = 1000 // problems that are kept at all; the others are counted
)

// Problem is one thing that is wrong with a request.
type Problem struct {
	Path string // where in the JSON, as items.<key>.image.name; empty for the request as a whole
	Text string // what is wrong, for a person
}

// String is the problem on one line.
func (p Problem) String() string {
	if p.Path == "" {
		return p.Text
	}
	return p.Path + ": " + p.Text
}

// Error says why a request is refused: all that is wrong with it, not only what was
// found first. No request with an Error has touched anything.
type Error struct {
	Problems []Problem // sorted by path, at least one
	More     int       // how many there are beyond those
}

// Error is the text for a person: a line for each problem, the first twenty.
func (e *Error) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i == shown {
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.String())
	}
	if more := len(e.Problems) + e.More - shown; more > 0 {
		fmt.Fprintf(&b, "\nand %d more", more)
	}
	return b.String()
}

// Refuse returns an [*Error] with one problem: the value at path, for example
// options.destination.path, is invalid; or the whole input, if path is empty.
func Refuse(path, format string, args ...any) error {
	return &Error{Problems: []Problem{{Path: path, Text: fmt.Sprintf(format, args...)}}}
}

// problems collects what is wrong.
type problems struct {
	list []Problem
	more int
}

func (p *problems) add(path, format string, args ...any) {
	if len(p.list) == kept {
		p.more++
		return
	}
	p.list = append(p.list, Problem{Path: path, Text: fmt.Sprintf(format, args...)})
}

// err returns nil when nothing is wrong.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	slices.SortStableFunc(p.list, func(a, b Problem) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return strings.Compare(a.Text, b.Text)
	})
	return &Error{Problems: p.list, More: p.more}
}
