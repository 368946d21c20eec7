// Package hint attaches remedies to errors, as data: an error says what is wrong, its hint what to do about it.
//
// The text of an error never holds its hint. Each front end prints errors in one place, with Text, which puts the
// hint on a line of its own and spells options as that front end has them.
package hint

import (
	"errors"
	"fmt"
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

// Of returns the hint of err, the first one in its tree: what With added, or what a type of error has with a method
// Hint.
func Of(err error) Hint {
	var h interface{ Hint() Hint }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return Hint{}
}

// Text returns what a user is to read of err: its text and, on a line of its own, its hint. Of errors that were
// joined each has its own hint. Every line is fit to be shown, without credentials.
func Text(err error, s Spelling) string {
	if several := joined(err); several != nil {
		texts := make([]string, len(several))
		for n, e := range several {
			texts[n] = Text(e, s)
		}
		return strings.Join(texts, "\n")
	}
	lines := strings.Split(err.Error(), "\n")
	for n, line := range lines {
		text := strings.TrimLeft(line, " ")
		lines[n] = line[:len(line)-len(text)] + progress.Clean(text)
	}
	return withHint(strings.Join(lines, "\n"), err, s)
}

// Line is Text for an error whose own text is to be one line, whatever a server had to say.
func Line(err error, s Spelling) string { return withHint(progress.Clean(err.Error()), err, s) }

func withHint(text string, err error, s Spelling) string {
	if h := Of(err).Spell(s); h != "" {
		text += "\n" + progress.Clean(h)
	}
	return text
}

// joined returns the errors that errors.Join made err of, also below errors that add nothing to its text; nil where
// there are none.
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
