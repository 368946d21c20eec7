package stage

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime/debug"

	"osbuild-containers/internal/skel"
)

func version() string {
	if skel.Version != "" {
		return skel.Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// command is what the command line asks for.
type command struct {
	help, version bool
}

func parseArgs(args []string) (command, error) {
	var c command
	f := flag.NewFlagSet("", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.BoolVar(&c.version, "version", false, "")
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return command{help: true}, nil
	case err != nil:
		return c, fmt.Errorf("%w; --help shows what there is", err)
	case f.NArg() > 0:
		return c, fmt.Errorf("unexpected argument %q; the arguments are read from standard input, see --help", f.Arg(0))
	}
	return c, nil
}

// examples are inputs and options that the stages accept.
var examples = map[string][2]string{
	"org.osbuild.skopeo": {
		`{"images": {"path": "/inputs", "data": {"archives": {
      "image.tar": {"format": "oci-archive", "name": "localhost/image:v1"}}}}}`,
		`{"destination": {"type": "containers-storage"}}`,
	},
	"org.osbuild.container-deploy": {
		`{"images": {"path": "/inputs", "data": {"archives": {
      "image.tar": {"format": "oci-archive", "name": "localhost/image:v1"}}}}}`,
		`{"exclude": ["usr/share/doc"]}`,
	},
	"org.osbuild.oci-archive": {
		`{"base": {"path": "/inputs/tree"}}`,
		`{"architecture": "amd64", "filename": "image.tar"}`,
	},
}

// usage shows arguments that work when there is such an input.
func usage(name string) string {
	example, ok := examples[name]
	if !ok {
		example = [2]string{`{}`, `{}`}
	}
	return fmt.Sprintf(`usage: %[1]s < arguments.json

Reads its arguments, one JSON object, from /run/osbuild/api/arguments, where
osbuild puts them, or else from standard input; changes the tree; and writes its
log to standard error. %[1]s.meta.json describes the
inputs and options.

arguments.json:
  {"tree": "/some/tree",
   "inputs": %[2]s,
   "options": %[3]s,
   "meta": {"source-epoch": 1700000000}}

exit status: 0 done, 1 failed, 2 the arguments were refused, 130 or 143
interrupted

  --version   print the version
  --help      print this
`, name, example[0], example[1])
}
