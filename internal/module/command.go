package module

import (
	"flag"
	"fmt"
	"strings"
)

// command is how osbuild starts a source: with --service-fd FD and --service-id ID.
type command struct {
	set *flag.FlagSet
	fd  int
	id  string
}

func (c *command) flags() *flag.FlagSet {
	c.set = flag.NewFlagSet("", flag.ContinueOnError)
	c.set.IntVar(&c.fd, "service-fd", -1, "")
	c.set.StringVar(&c.id, "service-id", "", "")
	return c.set
}

// service reports whether it was.
func (c *command) service() (given bool, err error) {
	c.set.Visit(func(f *flag.Flag) { given = given || strings.HasPrefix(f.Name, "service-") })
	if given && c.fd < 0 {
		err = fmt.Errorf("--service-id %s needs --service-fd, a descriptor", c.id)
	}
	return given, err
}

// usage shows a request that works when the digests are real ones.
func usage(name string) string {
	id, pinned := strings.Repeat("1", 64), strings.Repeat("2", 64)
	item := fmt.Sprintf(`{"image": {"name": "registry.example.com/team/app", "digest": "sha256:%s"}}`, pinned)
	switch name {
	case "org.osbuild.skopeo-index":
		item = `{"image": {"name": "registry.example.com/team/app"}}`
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
