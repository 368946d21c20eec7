package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"osbuild-containers/internal/hint"
)

// TestHint pairs wrapped errors of policy.json with the start of the hint.
func TestHint(t *testing.T) {
	for want, err := range map[string]error{
		"sign the image":   &refusedError{errors.New("x")},
		"make policy.json": &fileError{errors.New("x")},
	} {
		err = fmt.Errorf("image x: %w", err)
		if got := hint.Of(err).Field; !IsPolicy(err) || !strings.HasPrefix(got, want) {
			t.Errorf("%v: got %q, want %q", err, got, want)
		}
	}
	if err := errors.New("x"); IsPolicy(err) || hint.Of(err) != (hint.Hint{}) {
		t.Errorf("another error: %q", hint.Of(err))
	}
}
