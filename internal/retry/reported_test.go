package retry

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r Reported
		for _, step := range []struct {
			wait    time.Duration
			attempt int
			err     string
			want    bool
		}{
			{0, 1, "refused", false},
			{0, 1, "refused", true},
			{0, 1, "timeout", false},
			{0, 2, "refused", false},
			{30 * time.Second, 1, "refused", true},
			{31 * time.Second, 1, "refused", false},
		} {
			time.Sleep(step.wait)
			if got := r.Repeated(Failure{Attempt: step.attempt, Err: errors.New(step.err)}); got != step.want {
				t.Errorf("%+v: got %t", step, got)
			}
		}
	})
}
