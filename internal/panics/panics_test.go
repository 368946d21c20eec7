package panics

import (
	"errors"
	"strings"
	"testing"
)

func TestCatch(t *testing.T) {
	t.Parallel()
	fault := errors.New("a fault")
	var list []int
	for name, tt := range map[string]struct {
		f    func() error
		want string // "": no error
	}{
		"no error":     {func() error { return nil }, ""},
		"an error":     {func() error { return fault }, "a fault"},
		"a text":       {func() error { panic("oh") }, "internal error: oh; please report it"},
		"the runtime":  {func() error { return errors.New(string(rune(list[len(list)]))) }, "internal error: runtime error: index out of range [0] with length 0; please report it"},
		"nil":          {func() error { panic(nil) }, "internal error: panic called with nil argument"},
		"after others": {func() error { defer func() { panic("second") }(); panic("first") }, "internal error: second"},
	} {
		got := ""
		if err := Catch(tt.f); err != nil {
			got = err.Error()
		}
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	if err := Catch(func() error { return fault }); !errors.Is(err, fault) {
		t.Errorf("%v is not the error of f", err)
	}
}
