package request_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"osbuild-containers/internal/request"
)

func TestManyProblemsAreCounted(t *testing.T) {
	for n, tail := range map[int]string{20: "", 21: "and 1 more", 5000: "and 4980 more"} {
		var b strings.Builder
		b.WriteString(`{"cache": "/c", "items": {`)
		for i := range n {
			if i > 0 {
				b.WriteString(",")
			}
			fmt.Fprintf(&b, `"sha256:%064d": 1`, i)
		}
		b.WriteString("}}")
		_, err := request.Decode(storage, []byte(b.String()))
		lines := strings.Split(err.Error(), "\n")
		if want := min(n, 20); len(lines[:want]) != want || !strings.HasPrefix(lines[want-1], "items.sha256:") {
			t.Errorf("%d problems: line %d is %q", n, want, lines[want-1])
		}
		if got := strings.Join(lines[min(n, 20):], "\n"); got != tail {
			t.Errorf("%d problems end with %q, want %q", n, got, tail)
		}
	}
}

// zeros is an endless request.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestSizeIsLimited(t *testing.T) {
	_, err := request.Read(zeros{})
	if want := "the request is larger than 64 MiB"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	raw, err := request.Read(io.LimitReader(zeros{}, request.MaxSize))
	if err != nil || len(raw) != request.MaxSize {
		t.Errorf("got %d bytes and %v, want all", len(raw), err)
	}
}
