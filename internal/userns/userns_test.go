package userns

import (
	"io/fs"
	"testing"

	"github.com/moby/sys/user"
)

func TestMapped(t *testing.T) {
	for want, all := range map[string][]user.IDMap{
		"0":               {{ID: 0, Count: 1}},
		"0-65536":         {{ID: 0, Count: 1}, {ID: 1, Count: 65536}},
		"0-9,1000,70-79":  {{ID: 0, Count: 10}, {ID: 1000, Count: 1}, {ID: 70, Count: 10}},
		"0-4294967294":    {{ID: 0, Count: 4294967295}},
		"5-6,100-110,999": {{ID: 5, Count: 2}, {ID: 100, Count: 10}, {ID: 110, Count: 1}, {ID: 999, Count: 1}},
	} {
		if got := mapped(func() ([]user.IDMap, error) { return all, nil }); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := mapped(func() ([]user.IDMap, error) { return nil, fs.ErrNotExist }); got != "unknown" {
		t.Errorf("got %s", got)
	}
}
