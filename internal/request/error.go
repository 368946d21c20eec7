package request

import (
	"fmt"
	"slices"
	"strings"
)

const (
	shown = 20   // problems in the text of an Error
	kept  = 1000 // problems that are kept; the others are counted
)

// A Problem is one thing that is wrong with a request.
type Problem struct {
	Path string // of the value, for example items.<key>.image.name; empty for the request as a whole
	Text string // what is wrong
}

// String returns the problem on one line.
func (p Problem) String() string {
	if p.Path == "" {
		return p.Text
	}
	return p.Path + ": " + p.Text
}

// Error says why input is refused: everything that is wrong with it, not only what was found first. Nothing
// was touched because of it.
type Error struct {
	Problems []Problem // sorted by path, at least one
	More     int       // number of further problems
}

// Error returns a line for each of the first twenty problems.
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

// err returns nil if nothing is wrong, else an [*Error].
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
