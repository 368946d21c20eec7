// Package hint attaches remedies to errors, as data: an error says what is wrong, its hint what to do about it.
//
// The text of an error never contains its hint. Each front end prints errors in one place, with Text, which puts hints
// on lines of their own and spells options as that front end does. An error with a list of details is a [List].
package hint

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"osbuild-containers/internal/progress"
)

// Spelling is how a front end spells options.
type Spelling int

// The spellings.
const (
	Fields Spelling = iota // as fields of a request: "tls-verify: false"
	Flags                  // as flags of the tool: "--tls-verify=false"
)

// An Option is an option that a hint names, as a field of a request: "retries", or "tls-verify: false" with the value
// to give it.
type Option string

// Spell returns the option as a front end has it.
func (o Option) Spell(s Spelling) string {
	if s == Fields {
		return string(o)
	}
	return "--" + strings.Replace(string(o), ": ", "=", 1)
}

// A Hint tells a user what to do about an error, in a sentence without a full stop. The zero Hint says nothing. Hints are
// comparable.
type Hint struct {
	Field string // with options spelled as fields
	Flag  string // with options spelled as flags
}

// New formats a hint. Arguments that are an Option are spelled for each front end.
func New(format string, args ...any) Hint {
	spelled := func(s Spelling) string {
		all := make([]any, len(args))
		for n, arg := range args {
			all[n] = arg
			if o, ok := arg.(Option); ok {
				all[n] = o.Spell(s)
			}
		}
		return fmt.Sprintf(format, all...)
	}
	return Hint{Field: spelled(Fields), Flag: spelled(Flags)}
}

// Spell returns the hint as a front end shows it, "" for none.
func (h Hint) Spell(s Spelling) string {
	if s == Flags {
		return h.Flag
	}
	return h.Field
}

// hinted is an error with a hint.
type hinted struct {
	error
	hint Hint
}

// Hint is the hint of the error.
func (e *hinted) Hint() Hint { return e.hint }

func (e *hinted) Unwrap() error { return e.error }

// With returns err with a hint. An error that has one keeps it, since the one nearest to the cause knows most. It
// returns err itself if err is nil or the hint is zero.
func With(err error, h Hint) error {
	if err == nil || h == (Hint{}) || Of(err) != (Hint{}) {
		return err
	}
	return &hinted{err, h}
}

// Add is With for a hint that it formats as New does.
func Add(err error, format string, args ...any) error { return With(err, New(format, args...)) }

// All returns the hints in the tree of err, each once, in order: those that With added, and those that a type of error
// has with a method Hint.
func All(err error) []Hint {
	var all []Hint
	collect(err, &all)
	return all
}

func collect(err error, all *[]Hint) {
	if e, ok := err.(interface{ Hint() Hint }); ok {
		if h := e.Hint(); h != (Hint{}) {
			if !slices.Contains(*all, h) {
				*all = append(*all, h)
			}
			return
		}
	}
	switch e := err.(type) { //nolint:errorlint // it visits each error of the tree
	case interface{ Unwrap() error }:
		collect(e.Unwrap(), all)
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			collect(one, all)
		}
	}
}

// Of returns the first of the hints of err, the zero Hint if there is none.
func Of(err error) Hint {
	if all := All(err); len(all) > 0 {
		return all[0]
	}
	return Hint{}
}

// A List is an error with details, such as the candidates for an ambiguous name. Its text is one line; Text shows each
// of the details on a line of its own.
type List struct {
	What  string
	Items []string
}

func (l *List) Error() string {
	if len(l.Items) == 0 {
		return l.What
	}
	return l.What + ": " + strings.Join(l.Items, "; ")
}

// Text formats err for a user: its text and, on lines of their own, its hints. Each of several joined errors is
// formatted so, except that a hint which several have follows the last one of them. No line shows credentials.
func Text(err error, s Spelling) string { return format(err, s, progress.Clean, nil) }

// Full is Text without a limit on the length of lines, for a reader that has none.
func Full(err error, s Spelling) string { return format(err, s, progress.CleanAll, nil) }

// Line is Text for an error whose own text must be one line, whatever a server sent.
func Line(err error, s Spelling) string {
	return withHints(progress.Clean(err.Error()), err, s, progress.Clean, nil)
}

// format formats err with its hints, except for those that follow later.
func format(err error, s Spelling, clean func(string) string, later []Hint) string {
	if several := joined(err); several != nil {
		texts := make([]string, len(several))
		for n, e := range slices.Backward(several) {
			texts[n] = format(e, s, clean, later)
			later = append(later, All(e)...)
		}
		return strings.Join(texts, "\n")
	}
	text, items := err.Error(), []string(nil)
	if l, ok := errors.AsType[*List](err); ok {
		if before, found := strings.CutSuffix(text, l.Error()); found {
			text, items = before+l.What, l.Items
			if len(items) > 0 {
				text += ":"
			}
		}
	}
	lines := strings.Split(text, "\n")
	for n, line := range lines {
		lines[n] = clean(line)
	}
	for _, item := range items {
		lines = append(lines, "  "+clean(item))
	}
	return withHints(strings.Join(lines, "\n"), err, s, clean, later)
}

func withHints(text string, err error, s Spelling, clean func(string) string, later []Hint) string {
	for _, h := range All(err) {
		if !slices.Contains(later, h) {
			text += "\n" + clean(h.Spell(s))
		}
	}
	return text
}

// joined returns the errors that errors.Join combined into err, also below errors that add nothing to its text, or nil.
func joined(err error) []error {
	for err != nil {
		if several, ok := err.(interface{ Unwrap() []error }); ok {
			all := several.Unwrap()
			if errors.Join(all...).Error() == err.Error() {
				return all
			}
			return nil
		}
		below := errors.Unwrap(err)
		if below == nil || below.Error() != err.Error() {
			return nil
		}
		if h, ok := err.(*hinted); ok && Of(h.error) == (Hint{}) { //nolint:errorlint // as above
			return nil // it is a hint for all of them
		}
		err = below
	}
	return nil
}
