package module

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"osbuild-containers/internal/hostsvc"
	"osbuild-containers/internal/request"
)

// An osbuild that ignores replies gets failures as exceptions.
func TestOldOsbuildGetsFailuresAsExceptions(t *testing.T) {
	failed := Source{Name: "s"}.reply([]request.Result{{Error: "no such image"}}, nil)
	well := Source{Name: "s"}.reply([]request.Result{{Success: true}}, nil)
	for name, tc := range map[string]struct {
		module    string // content of osbuild/__init__.py; empty: there is none
		exception bool
	}{
		"current":            {`__version__ = "191"`, false},
		"first with results": {`__version__ = "186"`, false},
		"last without":       {"x\n__version__ = \"185\"\n", true},
		"unknown":            {"", false},
		"no number":          {`__version__ = "x"`, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("PYTHONPATH", dir)
			if tc.module != "" {
				if err := os.MkdirAll(filepath.Join(dir, "osbuild"), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "osbuild", "__init__.py"), []byte(tc.module), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			_, err := failed.toHost(hostVersion())
			var ex *hostsvc.Exception
			if errors.As(err, &ex) != tc.exception {
				t.Errorf("a failure gives %v, want an exception: %v", err, tc.exception)
			}
			if ex != nil && ex.Value != failed.Output {
				t.Errorf("exception %q, want %q", ex.Value, failed.Output)
			}
			reply, err := well.toHost(hostVersion())
			if err != nil {
				t.Fatalf("success gives %v", err)
			}
			if got := len(reply.(Reply).Results); got != 1 {
				t.Errorf("%d results, want 1", got)
			}
		})
	}
}
