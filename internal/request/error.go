package request

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	shown = 20   // problems printed by Error
	kept  = 1000 // problems kept; further ones are only counted
)

// A Problem is one thing wrong with a request.
type Problem struct {
	Path string // of the value, for example items.<key>.image.name; empty for the request as a whole
	Text string // what is wrong
}

// Error returns the problem on one line.
func (p Problem) Error() string {
	if p.Path == "" {
		return p.Text
	}
	return p.Path + ": " + p.Text
}

// Error is a refusal of invalid input. It lists every problem found, not only the first. Nothing has been touched.
type Error struct {
	Problems []Problem // sorted by path, at least one
	More     int       // number of further problems
}

// Error returns one line for each of the first twenty problems.
func (e *Error) Error() string { return errors.Join(e.Unwrap()...).Error() }

// Unwrap returns the first twenty problems, and how many more there are.
func (e *Error) Unwrap() []error {
	var errs []error
	for _, p := range e.Problems[:min(len(e.Problems), shown)] {
		errs = append(errs, p)
	}
	if more := len(e.Problems) + e.More - shown; more > 0 {
		errs = append(errs, fmt.Errorf("and %d more", more))
	}
	return errs
}

// Refuse returns an [*Error] with one problem: the value at path, for example options.destination.path, is invalid. An
// empty path means the whole input.
func Refuse(path, format string, args ...any) error {
	return &Error{Problems: []Problem{{Path: path, Text: fmt.Sprintf(format, args...)}}}
}

// problems collects problems.
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

// err returns an [*Error], or nil if there are no problems.
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
