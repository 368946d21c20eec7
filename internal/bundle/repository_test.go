package bundle

import "testing"

func TestSameRepository(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b []string
		want bool
	}{
		{[]string{"localhost:5000/base"}, []string{"localhost:5000/base:1"}, true},
		{[]string{"localhost:5000/base:1"}, []string{"localhost:5000/base:2"}, true},
		{[]string{"localhost:5000/base:1"}, []string{"localhost:5001/base:1"}, false},
		{[]string{"localhost:5000/base"}, []string{"localhost:5000/app"}, false},
		{[]string{"localhost:5000/base"}, nil, false},
		{nil, nil, false},
	} {
		if got := sameRepository(c.a, c.b); got != c.want {
			t.Errorf("%v and %v: got %t", c.a, c.b, got)
		}
	}
}
