package module

import (
	"math"
	"os"
	"runtime/debug"
	"testing"
)

func TestMemoryIsLimitedUnlessTheEnvironmentSaysOtherwise(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	for _, c := range []struct {
		variable string
		want     int64
	}{{"", softLimit}, {"GOGC", math.MaxInt64}, {"GOMEMLIMIT", math.MaxInt64}} {
		for _, v := range []string{"GOGC", "GOMEMLIMIT"} {
			t.Setenv(v, "") // restores it
			if v != c.variable {
				_ = os.Unsetenv(v)
			}
		}
		debug.SetMemoryLimit(math.MaxInt64)
		limitMemory(0)
		if got := debug.SetMemoryLimit(-1); got != c.want {
			t.Errorf("with %q set: limit %d, want %d", c.variable, got, c.want)
		}
	}
}
