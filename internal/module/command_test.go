package module_test

import (
	"strings"
	"testing"

	"osbuild-containers/internal/module"
	"osbuild-containers/internal/process"
)

func TestArguments(t *testing.T) {
	for args, c := range map[string]struct {
		code           int
		stdout, stderr string
	}{
		"--version":               {0, name + " v1\n", ""},
		"-version":                {0, name + " v1\n", ""},
		"--frobnicate":            {2, "", name + ": flag provided but not defined: -frobnicate; see --help\n"},
		"request.json":            {2, "", name + ": unexpected argument \"request.json\"; a request is read from standard input, see --help\n"},
		"--service-id source/x":   {2, "", name + ": --service-id \"source/x\" needs --service-fd with a file descriptor\n"},
		"--service-fd":            {2, "", name + ": flag needs an argument: -service-fd; see --help\n"},
		"--service-fd=three":      {2, "", name + ": invalid value \"three\" for flag -service-fd: parse error; see --help\n"},
		"--service-fd -1":         {2, "", name + ": --service-id \"\" needs --service-fd with a file descriptor\n"},
		"--service-fd 99999":      {1, "", name + ": descriptor 99999 of the service: bad file descriptor\n"},
		"--service-fd=99999":      {1, "", name + ": descriptor 99999 of the service: bad file descriptor\n"},
		"--service-fd 99999 more": {2, "", name + ": unexpected argument \"more\"; a request is read from standard input, see --help\n"},
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

func TestTerminalAsStandardInput(t *testing.T) {
	p := run(t, answers(nil), "", func(e *module.Env) {
		e.StdinIsTerminal, e.Stdin = true, nil
	})
	if !strings.HasPrefix(p.stderr, name+": standard input is a terminal; a request is expected there\n\nusage: ") || p.stdout != "" || p.code != 2 {
		t.Errorf("got %+v", p)
	}
}
