package hint_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/progress"
)

// Example prints an error with a hint, for both front ends.
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

// transparent adds nothing to an error's text.
type transparent struct{ error }

func (t transparent) Unwrap() error { return t.error }

// TestText pairs errors with their text for users.
func TestText(t *testing.T) {
	a, b := hint.Add(errors.New("a"), "repair a"), hint.Add(errors.New("b"), "repair b")
	list := &hint.List{What: "two of them", Items: []string{"1", "2"}}
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
		"several, of which two have one":  {errors.Join(a, hint.Add(errors.New("c"), "repair a"), b), "a\nc\nrepair a\nb\nrepair b"},
		"several, in one sentence":        {fmt.Errorf("%w, %w and %w", a, errors.New("c"), b), "a, c and b\nrepair a\nrepair b"},
		"a list":                          {hint.Add(fmt.Errorf("x: %w", list), "choose"), "x: two of them:\n  1\n  2\nchoose"},
		"a list inside a sentence":        {fmt.Errorf("%w (x)", list), "two of them: 1; 2 (x)"},
		"an empty list":                   {&hint.List{What: "none"}, "none"},
		"what a terminal would interpret": {hint.Add(errors.New("a\x1b[31m"), "repair\x1b[0m\n\nit"), `a\x1b[31m` + "\n" + `repair\x1b[0m  it`},
	} {
		if got := hint.Text(c.err, hint.Fields); got != c.want {
			t.Errorf("%s\ngot  %q\nwant %q", name, got, c.want)
		}
		if got := hint.Full(c.err, hint.Fields); got != c.want {
			t.Errorf("%s: in full\ngot  %q\nwant %q", name, got, c.want)
		}
	}
	if err := hint.Add(nil, "x"); err != nil {
		t.Errorf("an error came of none: %v", err)
	}
	if got, want := hint.Line(errors.Join(a, b), hint.Fields), "a b\nrepair a\nrepair b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(hint.Add(os.ErrExist, "x"), os.ErrExist) {
		t.Error("the cause is lost")
	}
}

// TestTextHidesSecrets checks that neither text nor hint contains a credential.
func TestTextHidesSecrets(t *testing.T) {
	progress.Hide("hunter22")
	err := hint.Add(errors.New("https://ann:s3cret@example.com and hunter22"), "use hunter22, not %s", "https://ann:s3cret@example.com")
	const want = "https://***@example.com and ***\nuse ***, not https://***@example.com"
	for _, show := range []func(error, hint.Spelling) string{hint.Text, hint.Full, hint.Line} {
		for _, s := range []hint.Spelling{hint.Fields, hint.Flags} {
			if got := show(err, s); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	}
}

// TestErrorsAreOneLine checks that no error is created with a line break in its text: further lines must be hints, joined errors,
// or items of a List.
func TestErrorsAreOneLine(t *testing.T) {
	checked := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != "../.." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "build" || d.Name() == "test") {
			return filepath.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !makesErrors(call.Fun) {
				return true
			}
			checked++
			ast.Inspect(call, func(n ast.Node) bool {
				if text, ok := n.(*ast.BasicLit); ok && strings.Contains(text.Value, `\n`) {
					t.Errorf("%s: an error with a line break", files.Position(text.Pos()))
				}
				return true
			})
			return true
		})
		return nil
	})
	if err != nil || checked == 0 {
		t.Errorf("%d calls checked: %v", checked, err)
	}
}

// makesErrors reports whether a function is errors.New or fmt.Errorf.
func makesErrors(f ast.Expr) bool {
	s, ok := f.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	in, ok := s.X.(*ast.Ident)
	return ok && (in.Name == "errors" && s.Sel.Name == "New" || in.Name == "fmt" && s.Sel.Name == "Errorf")
}
