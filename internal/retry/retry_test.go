package retry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

var (
	errTransient = errors.New("busy")
	errDenied    = errors.New("denied")
	errFinal     = errors.New("gone")
)

// policy returns a policy that classifies the errors above.
func policy() Policy {
	return Policy{
		Retries: 3, Timeout: time.Minute, Stall: time.Minute, Header: time.Minute, FirstWait: time.Millisecond,
		Classify: func(err error) (Class, time.Duration) {
			switch {
			case errors.Is(err, errTransient), errors.As(err, new(StallError)):
				return Transient, 0
			case errors.Is(err, errDenied):
				return Denied, 0
			}
			return Final, 0
		},
	}
}

// Example retries an operation that fails twice.
func Example() {
	p := Policy{
		Retries: 5, Timeout: time.Minute, Stall: time.Minute, FirstWait: time.Millisecond,
		Classify: func(error) (Class, time.Duration) { return Transient, 0 },
	}
	op := NewGroup(p).New(func(f Failure) { fmt.Printf("attempt %d of %d: %v\n", f.Attempt, f.Of, f.Err) })
	tries := 0
	err := op.Do(context.Background(), func(context.Context) error {
		if tries++; tries < 3 {
			return errors.New("busy")
		}
		return nil
	})
	fmt.Println(tries, err)
	// Output:
	// attempt 1 of 6: busy
	// attempt 2 of 6: busy
	// 3 <nil>
}

// TestTries pairs the results of tries with that of the operation.
func TestTries(t *testing.T) {
	next := &NextError{Err: errTransient, Next: "there"}
	for name, c := range map[string]struct {
		errs  []error // of each try; nil after that
		far   int64   // new bytes of each try
		renew error
		tries int
		want  string
	}{
		"success":                        {nil, 0, nil, 1, "<nil>"},
		"final":                          {[]error{errFinal}, 0, nil, 1, "gone"},
		"transient":                      {[]error{errTransient}, 0, nil, 2, "<nil>"},
		"transient too often":            {slices.Repeat([]error{errTransient}, 9), 0, nil, 4, "busy (gave up after 4 tries)"},
		"new bytes start the count":      {slices.Repeat([]error{errTransient}, 9), newBytes, nil, 10, "<nil>"},
		"fewer bytes, which add up":      {slices.Repeat([]error{errTransient}, 9), newBytes / 4, nil, 7, "busy (gave up after 7 tries)"},
		"too few bytes":                  {slices.Repeat([]error{errTransient}, 9), 1, nil, 4, "busy (gave up after 4 tries)"},
		"elsewhere is not counted":       {slices.Repeat([]error{next}, 9), 0, nil, 10, "<nil>"},
		"denied once":                    {[]error{errDenied}, 0, nil, 2, "<nil>"},
		"denied twice":                   {[]error{errDenied, errDenied}, 0, nil, 2, "denied"},
		"denied again after new bytes":   {[]error{errDenied, errDenied}, 1, nil, 3, "<nil>"},
		"no fresh credentials":           {[]error{errDenied}, 0, errFinal, 1, "gone"},
		"fresh credentials after a wait": {[]error{errDenied, nil}, 0, errTransient, 2, "<nil>"},
	} {
		p := policy()
		op := NewGroup(p).New(func(Failure) {})
		op.Renew = func(context.Context) error { return c.renew }
		tries := 0
		err := op.Do(t.Context(), func(context.Context) error {
			tries++
			op.Reached(int64(tries) * c.far)
			if tries <= len(c.errs) {
				return c.errs[tries-1]
			}
			return nil
		})
		if got := fmt.Sprint(err); tries != c.tries || got != c.want {
			t.Errorf("%s: %d tries, then %s; want %d, then %s", name, tries, got, c.tries, c.want)
		}
	}
}

// TestTimeout checks that no wait starts that would end after the timeout.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := policy()
		p.Classify = func(error) (Class, time.Duration) { return Transient, time.Hour }
		op := NewGroup(p).New(nil)
		time.Sleep(7 * time.Second)
		err := op.Do(t.Context(), func(context.Context) error { return errTransient })
		if want := "busy (gave up: no progress for 7s, and the next try would be in 1h0m0s; the timeout is 1m0s)"; err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
}

// TestCancelled checks that a wait ends with the context, and returns its cause.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	p := policy()
	p.FirstWait = time.Hour
	p.Timeout = 24 * time.Hour
	op := NewGroup(p).New(func(Failure) { cancel(errFinal) })
	if err := op.Do(ctx, func(context.Context) error { return errTransient }); !errors.Is(err, errFinal) {
		t.Errorf("got %v", err)
	}
}
