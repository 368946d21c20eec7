package skel

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
)

// Version is set when a release is built.
var Version string

// VersionText is Version, or what the build says of itself.
func VersionText() string {
	if Version != "" {
		return Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// command is what the arguments ask for.
type command struct {
	help, version, service bool
	fd                     int // of the service
}

// parseArgs understands --service-fd FD and --service-id ID, as osbuild passes them,
// and what a person may try.
func parseArgs(args []string) (command, error) {
	var c command
	f := flag.NewFlagSet("", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.BoolVar(&c.version, "version", false, "")
	f.IntVar(&c.fd, "service-fd", -1, "")
	id := f.String("service-id", "", "")
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return command{help: true}, nil
	case err != nil:
		return c, fmt.Errorf("%w; --help shows what there is", err)
	case f.NArg() > 0:
		return c, fmt.Errorf("unexpected argument %q; the request is read from standard input, see --help", f.Arg(0))
	}
	f.Visit(func(given *flag.Flag) { c.service = c.service || strings.HasPrefix(given.Name, "service-") })
	if c.service && c.fd < 0 {
		return c, fmt.Errorf("--service-id %s needs --service-fd, a descriptor", *id)
	}
	return c, nil
}

// usage shows a request that works when the digests are real ones.
func usage(name string) string {
	id, pinned := strings.Repeat("1", 64), strings.Repeat("2", 64)
	item := fmt.Sprintf(`{"image": {"name": "quay.io/fedora/fedora", "digest": "sha256:%s"}}`, pinned)
	switch name {
	case "org.osbuild.skopeo-index":
		item = `{"image": {"name": "quay.io/fedora/fedora"}}`
	case "org.osbuild.containers-storage":
		item = `{}`
	}
	return fmt.Sprintf(`usage: %[1]s < request.json > reply.json

Reads one JSON request from standard input, writes one JSON reply to standard
output and its log to standard error. %[1]s.meta.json
describes the items.

request.json:
  {"items": {"sha256:%[2]s":
      %[3]s},
   "cache": "/var/cache/osbuild/sources"}

exit status: 0 all items are there, 1 an item failed, 2 the request was refused,
130 or 143 interrupted

  --service-fd FD, --service-id ID   serve osbuild on the socket FD instead
  --version                          print the version
  --help                             print this
`, name, id, item)
}
