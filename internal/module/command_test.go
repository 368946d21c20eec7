package module_test

import (
	"encoding/json"
	"strings"
	"testing"

	"osbuild-containers/internal/module"
	"osbuild-containers/internal/process"
	"osbuild-containers/internal/request"
)

func TestArguments(t *testing.T) {
	for args, c := range map[string]struct {
		code           int
		stdout, stderr string
	}{
		"--version":               {0, name + " v1\n", ""},
		"-version":                {0, name + " v1\n", ""},
		"--frobnicate":            {2, "", name + ": flag provided but not defined: -frobnicate; --help shows what there is\n"},
		"request.json":            {2, "", name + ": unexpected argument \"request.json\"; the request is read from standard input, see --help\n"},
		"--service-id source/x":   {2, "", name + ": --service-id source/x needs --service-fd, a descriptor\n"},
		"--service-fd":            {2, "", name + ": flag needs an argument: -service-fd; --help shows what there is\n"},
		"--service-fd=three":      {2, "", name + ": invalid value \"three\" for flag -service-fd: parse error; --help shows what there is\n"},
		"--service-fd -1":         {2, "", name + ": --service-id  needs --service-fd, a descriptor\n"},
		"--service-fd 99999":      {1, "", name + ": descriptor 99999 of the service: bad file descriptor\n"},
		"--service-fd=99999":      {1, "", name + ": descriptor 99999 of the service: bad file descriptor\n"},
		"--service-fd 99999 more": {2, "", name + ": unexpected argument \"more\"; the request is read from standard input, see --help\n"},
	} {
		defer func(v string) { process.Version = v }(process.Version)
		process.Version = "v1"
		p := run(t, answers(nil), two, func(e *module.Env) { e.Args = strings.Fields(args) })
		if want := (ending{c.code, c.stdout, c.stderr}); p != want {
			t.Errorf("%s\ngot  %+v\nwant %+v", args, p, want)
		}
	}
}

func TestVersionOfATestBuild(t *testing.T) {
	p := run(t, answers(nil), "", func(e *module.Env) { e.Args = []string{"--version"} })
	if version := strings.TrimPrefix(p.stdout, name+" "); version == p.stdout || len(version) < 2 || p.code != 0 {
		t.Errorf("got %+v", p)
	}
}

// TestUsage shows that the example is a request that the source accepts.
func TestUsage(t *testing.T) {
	for _, source := range []string{"org.osbuild.skopeo", "org.osbuild.skopeo-index", "org.osbuild.containers-storage"} {
		s := answers(nil)
		s.Name = source
		for _, arg := range []string{"--help", "-help", "-h"} {
			p := run(t, s, "", func(e *module.Env) { e.Args = []string{arg} })
			if !strings.HasPrefix(p.stdout, "usage: "+source+" < request.json") || p.stderr != "" || p.code != 0 {
				t.Errorf("%s: got %+v", arg, p)
			}
			_, rest, _ := strings.Cut(p.stdout, "request.json:\n")
			var example json.RawMessage
			if err := json.NewDecoder(strings.NewReader(rest)).Decode(&example); err != nil {
				t.Fatalf("no example in %s: %v", p.stdout, err)
			}
			if r, err := request.Decode(source, example); err != nil || len(r.Items) != 1 {
				t.Errorf("%s: %v", example, err)
			}
		}
	}
}

func TestTerminalAsStandardInput(t *testing.T) {
	p := run(t, answers(nil), "", func(e *module.Env) {
		e.StdinIsTerminal, e.Stdin = true, nil
	})
	if !strings.HasPrefix(p.stderr, name+": standard input is a terminal; a request is expected there\n\nusage: ") || p.stdout != "" || p.code != 2 {
		t.Errorf("got %+v", p)
	}
}
