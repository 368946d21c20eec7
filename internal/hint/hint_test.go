package hint_test

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/progress"
)

// Example shows an error with a hint as both front ends print it.
func Example() {
	err := hint.Add(fmt.Errorf("open %q: %w", "pins.json", os.ErrNotExist), "use %s, or raise %s",
		hint.Option("tls-verify: false"), hint.Option("timeout"))
	err = fmt.Errorf("read pins: %w", err)
	fmt.Println(hint.Text(err, hint.Fields))
	fmt.Println(hint.Text(err, hint.Flags))
	// Output:
	// read pins: open "pins.json": file does not exist
	// use tls-verify: false, or raise timeout
	// read pins: open "pins.json": file does not exist
	// use --tls-verify=false, or raise --timeout
}

// typed is an error whose type has a hint.
type typed struct{}

func (typed) Error() string   { return "typed" }
func (typed) Hint() hint.Hint { return hint.New("its remedy") }

// transparent adds nothing to the text of an error.
type transparent struct{ error }

func (t transparent) Unwrap() error { return t.error }

// TestText pairs errors with what a user reads of them.
func TestText(t *testing.T) {
	a, b := hint.Add(errors.New("a"), "repair a"), hint.Add(errors.New("b"), "repair b")
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"no hint":                         {errors.New("a"), "a"},
		"hint":                            {a, "a\nrepair a"},
		"wrapped":                         {fmt.Errorf("x: %w", a), "x: a\nrepair a"},
		"the one nearer to the cause":     {hint.Add(fmt.Errorf("x: %w", a), "repair x"), "x: a\nrepair a"},
		"the zero hint":                   {hint.With(a, hint.Hint{}), "a\nrepair a"},
		"of a type":                       {fmt.Errorf("x: %w", hint.Add(typed{}, "another")), "x: typed\nits remedy"},
		"several":                         {errors.Join(a, errors.New("c"), b), "a\nrepair a\nc\nb\nrepair b"},
		"several, one below the other":    {errors.Join(errors.Join(a, b), errors.New("c")), "a\nrepair a\nb\nrepair b\nc"},
		"several, marked":                 {transparent{errors.Join(a, b)}, "a\nrepair a\nb\nrepair b"},
		"several, with one hint for all":  {hint.Add(errors.Join(errors.New("a"), errors.New("b")), "repair both"), "a\nb\nrepair both"},
		"several, in one sentence":        {fmt.Errorf("%w and %w", a, errors.New("c")), "a and c\nrepair a"},
		"lines, as of a list":             {hint.Add(errors.New("a:\n  1\n  2"), "choose"), "a:\n  1\n  2\nchoose"},
		"what a terminal would interpret": {hint.Add(errors.New("a\x1b[31m"), "repair\x1b[0m\n\nit"), `a\x1b[31m` + "\n" + `repair\x1b[0m  it`},
	} {
		if got := hint.Text(c.err, hint.Fields); got != c.want {
			t.Errorf("%s\ngot  %q\nwant %q", name, got, c.want)
		}
	}
	if err := hint.Add(nil, "x"); err != nil {
		t.Errorf("an error came of none: %v", err)
	}
	if got, want := hint.Line(errors.Join(a, b), hint.Fields), "a b\nrepair a"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(hint.Add(os.ErrExist, "x"), os.ErrExist) {
		t.Error("the cause is lost")
	}
}

// TestTextHidesSecrets shows that neither a text nor a hint gives a credential away.
func TestTextHidesSecrets(t *testing.T) {
	progress.Hide("hunter22")
	err := hint.Add(errors.New("https://ann:s3cret@example.com and hunter22"), "use hunter22, not %s", "https://ann:s3cret@example.com")
	const want = "https://***@example.com and ***\nuse ***, not https://***@example.com"
	for _, show := range []func(error, hint.Spelling) string{hint.Text, hint.Line} {
		for _, s := range []hint.Spelling{hint.Fields, hint.Flags} {
			if got := show(err, s); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	}
}
