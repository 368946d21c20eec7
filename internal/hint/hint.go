// Package hint attaches hints to errors, as data: the error says what is wrong, its hint what to do about it.
//
// The text of an error never contains its hint. Each front end prints errors in one place with Text, which prints hints on lines
// of their own and spells options for that front end. An error with a list of details is a [List].
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

// Spellings.
const (
	Fields Spelling = iota // as fields of a request: "tls-verify: false"
	Flags                  // as flags of the tool: "--tls-verify=false"
)

// An Option is an option named by a hint, spelled as a field of a request: "retries", or "tls-verify: false" with its value.
type Option string

// Spell returns the option in a front end's spelling.
func (o Option) Spell(s Spelling) string {
	if s == Fields {
		return string(o)
	}
	return "--" + strings.Replace(string(o), ": ", "=", 1)
}

// A Hint tells the user what to do about an error, in a sentence without a full stop. The zero Hint is empty. Hints are
// comparable.
type Hint struct {
	Field string // with options spelled as fields
	Flag  string // with options spelled as flags
}

// New formats a hint. Arguments of type Option are spelled for each front end.
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

// Spell returns the hint in a front end's spelling, or "" if it is empty.
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

// Hint returns the hint.
func (e *hinted) Hint() Hint { return e.hint }

func (e *hinted) Unwrap() error { return e.error }

// With adds a hint to err. If err has a hint already, that is kept, since the one nearest to the cause is the most specific.
// With returns err itself if it is nil or the hint is empty.
func With(err error, h Hint) error {
	if err == nil || h == (Hint{}) || Of(err) != (Hint{}) {
		return err
	}
	return &hinted{err, h}
}

// Add is With with a hint formatted as by New.
func Add(err error, format string, args ...any) error { return With(err, New(format, args...)) }

// Kept adds to the error of an interrupted command how much of its work is kept, and where; the next run of the command
// does not repeat it. It adds nothing if n is 0.
func Kept(err error, n int64, where string) error {
	if n == 0 {
		return err
	}
	return Add(err, "%s are kept in %s: run it again to continue", progress.Bytes(n), where)
}

// All returns the hints in the tree of err, in order and without duplicates: those added by With, and those of errors with a
// method Hint.
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
	switch e := err.(type) { //nolint:errorlint // visits each error of the tree
	case interface{ Unwrap() error }:
		collect(e.Unwrap(), all)
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			collect(one, all)
		}
	}
}

// Of returns the first hint of err, or the zero Hint.
func Of(err error) Hint {
	if all := All(err); len(all) > 0 {
		return all[0]
	}
	return Hint{}
}

// A List is an error with details, such as the candidates for an ambiguous name. Its text is one line; Text prints each detail on
// a line of its own.
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

// Text formats err for a user: its text, followed by its hints on lines of their own. Joined errors are formatted one after the
// other; a hint that several share follows the last of them. Credentials are hidden.
func Text(err error, s Spelling) string { return format(err, s, progress.Clean, nil) }

// Full is Text without a limit on the length of lines.
func Full(err error, s Spelling) string { return format(err, s, progress.CleanAll, nil) }

// Line is Text, but the error's own text is one line, whatever a server sent.
func Line(err error, s Spelling) string {
	return withHints(progress.Clean(err.Error()), err, s, progress.Clean, nil)
}

// format formats err with its hints, except those in later.
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

// joined returns the errors combined by errors.Join in err, possibly below errors that add no text, or nil.
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
		if h, ok := err.(*hinted); ok && Of(h.error) == (Hint{}) { //nolint:errorlint // visits each error of the tree
			return nil // the hint is for all of them
		}
		err = below
	}
	return nil
}
