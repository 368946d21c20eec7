package module

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"osbuild-containers/internal/process"
)

// TestSeveralIsTheModuleItIsStartedAs starts one executable under each name.
func TestSeveralIsTheModuleItIsStartedAs(t *testing.T) {
	s := Several{Source{Name: "org.osbuild.a"}, Source{Name: "org.osbuild.a-b"}, Stage{Name: "org.osbuild.c"}}
	for _, test := range []struct {
		arg0   string
		status int
		want   string
	}{
		{"org.osbuild.a", process.OK, "org.osbuild.a "},
		{"/usr/lib/osbuild/sources/org.osbuild.a-b", process.OK, "org.osbuild.a-b "},
		{"./org.osbuild.c", process.OK, "org.osbuild.c "},
		{"/run/osbuild/bin/org.osbuild.c", process.OK, "org.osbuild.c "},
		{"org.osbuild.d", process.Refused, "org.osbuild.d: not the name of a module in this executable, want org.osbuild.a, org.osbuild.a-b, org.osbuild.c\n"},
		{"/org.osbuild.a/other", process.Refused, "/org.osbuild.a/other: not the name"},
		{"", process.Refused, ": not the name"},
	} {
		var out bytes.Buffer
		status := s.Main(context.Background(), Env{Env: process.Env{Args: []string{"--version"}, Stdout: &out, Stderr: &out}}, test.arg0)
		if status != test.status || !strings.HasPrefix(out.String(), test.want) {
			t.Errorf("started as %q: status %d and %q, want %d and %q", test.arg0, status, out.String(), test.status, test.want)
		}
	}
}
