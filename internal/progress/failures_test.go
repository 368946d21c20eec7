package progress

import (
	"errors"
	"strings"
	"testing"

	"osbuild-containers/internal/retry"
)

// TestInterruptedItemsAreNoFailures: a log calls what was interrupted interrupted, and counts it once.
func TestInterruptedItemsAreNoFailures(t *testing.T) {
	t.Parallel()
	var l lines
	r := NewLog(&l)
	for _, name := range []string{"a", "b", "c"} {
		r.Item(name).Interrupt("interrupted")
	}
	r.Close()
	if got, want := strings.Join(l.got, "\n"), "a: interrupted\n2 more interrupted"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestOneCauseIsReportedOnce: a log has the reason of several items once, with their number; a program has it for each.
func TestOneCauseIsReportedOnce(t *testing.T) {
	t.Parallel()
	try := retry.Failure{Attempt: 1, Of: 2, Err: errors.New("connection refused")}
	for name, c := range map[string]struct {
		open  func(*lines) *Reporter
		tries int
		want  []string
	}{
		"log": {func(l *lines) *Reporter { return NewLog(l) }, 1, []string{
			"a: failed: connection refused", "a:     check that it runs", "b: failed: not found", "2 more failed for the same reason: connection refused",
		}},
		"quiet": {func(l *lines) *Reporter { return NewQuiet(l) }, 1, []string{
			"a: failed: connection refused", "a:     check that it runs", "b: failed: not found", "2 more failed for the same reason: connection refused",
		}},
		"events": {func(l *lines) *Reporter { return NewEvents(l) }, 3, nil},
	} {
		var l lines
		r, tries := c.open(&l), 0
		for _, name := range []string{"a", "c", "d"} {
			if !r.Repeated(try) {
				tries++
			}
			r.Item(name).Fail("connection refused\ncheck that it runs")
			if name == "a" {
				r.Item("b").Fail("not found")
			}
		}
		r.Note("shown by none but a log")
		r.Close()
		got := strings.Join(l.got, "\n")
		if c.want == nil {
			if n := strings.Count(got, "connection refused"); n != 3 {
				t.Errorf("%s: %d of 3 failures in\n%s", name, n, got)
			}
		} else if want := strings.Join(c.want, "\n"); strings.ReplaceAll(got, "\nshown by none but a log", "") != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
		if strings.Contains(got, "shown by none") == (name == "quiet") {
			t.Errorf("%s: the note is wrong in\n%s", name, got)
		}
		if tries != c.tries {
			t.Errorf("%s: %d tries reported, want %d", name, tries, c.tries)
		}
	}
}
