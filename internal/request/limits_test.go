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

// Decoded as an any, a value takes many times the memory of its text.
func TestValuesAreLimited(t *testing.T) {
	id := "sha256:" + strings.Repeat("1", 64)
	large := "[" + strings.Repeat("0,", 1<<19) + "0]"
	for want, raw := range map[string]string{
		"options: is larger than 1 MiB":            `{"items":{},"cache":"/c","options":` + large + `}`,
		"items." + id + ": is larger than 1 MiB":   `{"cache":"/c","items":{"` + id + `":` + large + `}}`,
		"items: is larger than 1 MiB":              `{"cache":"/c","items":` + large + `}`,
		"options: must be an object, got a list":   `{"items":{},"cache":"/c","options":` + strings.Replace(large, "0,0,0,", "", 1) + `}`,
		"options.retries: is given twice":          `{"items":{},"cache":"/c","options":{"retries":1,"retries":2}}`,
		"options.a.b: must be a number of at most": `{"items":{},"cache":"/c","options":{"a":{"b":1e400}}}`,
	} {
		if _, err := request.Decode(storage, []byte(raw)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
