package module

import (
	"context"
	"flag"
	"fmt"
	"strings"

	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// Source is a source of osbuild.
type Source struct {
	Name     string // the module's name, for example org.osbuild.skopeo
	Example  string // one item of a request, JSON, for --help
	Download Answer // fetches the items into the cache
	Copy     Answer // copies the items to another cache
}

// Answer handles a request. It returns one result for each of r.Items, in order, including items that failed. When
// ctx is cancelled it cleans up and returns soon; the error of each unfinished item is then the cause of ctx.
type Answer func(ctx context.Context, r *request.Request, log *progress.Reporter) []request.Result

// Main answers the request on standard input, or runs as a host service if the arguments say so. It returns the
// exit status.
func (s Source) Main(ctx context.Context, env Env) int {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	fd := flags.Int("service-fd", -1, "")
	id := flags.String("service-id", "", "")
	m := module{env: env, name: s.Name, usage: s.usage(), input: "a request is"}
	if status, done := m.parse(flags); done {
		return status
	}
	service := false
	flags.Visit(func(f *flag.Flag) { service = service || f.Name != "version" })
	limitMemory(0)
	switch {
	case service && *fd < 0:
		return m.refuse(fmt.Errorf("--service-id %q needs --service-fd with a file descriptor", *id))
	case service:
		return s.serve(ctx, env, *fd)
	case env.StdinIsTerminal:
		return m.noInput()
	}
	return s.answerStdin(ctx, env)
}

// do runs the request and returns one result for each item.
func (s Source) do(ctx context.Context, r *request.Request, log *progress.Reporter) []request.Result {
	answer := s.Download
	if r.Method == request.Copy {
		answer = s.Copy
	}
	results := answer(ctx, r, log)
	log.SumFailures()
	if len(results) != len(r.Items) {
		panic(fmt.Sprintf("%s: %d results for %d items", s.Name, len(results), len(r.Items)))
	}
	return results
}

func (s Source) usage() string {
	return fmt.Sprintf(`usage: %[1]s < request.json > reply.json

Reads one JSON request from standard input, writes one JSON reply to standard
output and its log to standard error. %[1]s.meta.json
describes the items.

request.json:
  {"items": {"sha256:%[2]s":
      %[3]s},
   "cache": "/var/cache/osbuild/sources"}

exit status: 0 all items are there, 1 an item failed, 2 the request is invalid,
130 or 143 interrupted

  --service-fd FD, --service-id ID   serve osbuild on the socket FD instead
  --version                          print the version
  --help                             print this
`, s.Name, strings.Repeat("1", 64), s.Example)
}
