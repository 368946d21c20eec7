package module_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"osbuild-containers/internal/module"
	"osbuild-containers/internal/panics"
	"osbuild-containers/internal/process"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

const name = "org.osbuild.containers-storage"

var (
	idA = "sha256:" + strings.Repeat("a", 64)
	idB = "sha256:" + strings.Repeat("b", 64)
	two = `{"items": {"` + idB + `": {}, "` + idA + `": {}}, "cache": "/c"}`
)

// ending is the result of a run of Main.
type ending struct {
	code           int
	stdout, stderr string
}

// reply returns the only line on standard output.
func (p ending) reply(t *testing.T) module.Reply {
	t.Helper()
	if strings.Count(p.stdout, "\n") != 1 || !strings.HasSuffix(p.stdout, "\n") {
		t.Errorf("standard output is not one line: %q", p.stdout)
	}
	var r module.Reply
	d := json.NewDecoder(strings.NewReader(p.stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Errorf("reply %q: %v", p.stdout, err)
	}
	return r
}

// answers returns a source whose items fail with the errors in errs.
func answers(errs map[string]string) module.Source {
	answer := func(_ context.Context, r *request.Request, _ *progress.Reporter) (results []request.Result) {
		for _, item := range r.Items {
			id := item.ID.String()
			results = append(results, request.Result{
				Success:  errs[id] == "",
				Metadata: request.Metadata{Checksum: id, Cached: r.Method == request.Copy},
				Error:    errs[id],
			})
		}
		return results
	}
	return module.Source{Name: name, Download: answer, Copy: answer}
}

// run runs Main on the input with a changed environment.
func run(t *testing.T, s module.Source, stdin string, change func(*module.Env)) ending {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env := module.Env{Env: process.Env{Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr}}
	if change != nil {
		change(&env)
	}
	code := s.Main(t.Context(), env)
	return ending{code, stdout.String(), stderr.String()}
}

// TestReply compares the exact bytes that callers rely on.
func TestReply(t *testing.T) {
	for title, c := range map[string]struct {
		in   string
		errs map[string]string
		code int
		want string
	}{
		"all are there": {two, nil, 0, `{"name":"source N","source_type":"N","success":true,"output":"source N finished successfully",` +
			`"results":[{"success":true,"metadata":{"checksum":"<A>","cached":false},"error":""},{"success":true,"metadata":{"checksum":"<B>","cached":false},"error":""}]}`},
		"no items": {`{"items": {}, "cache": "/c"}`, nil, 0, `{"name":"source N","source_type":"N","success":true,"output":"source N finished successfully","results":[]}`},
		"one failed": {two, map[string]string{idA: "image <a>: no"}, 1, `{"name":"source N","source_type":"N","success":false,"output":"source N finished unsuccessfully: image <a>: no",` +
			`"results":[{"success":false,"metadata":{"checksum":"<A>","cached":false},"error":"image <a>: no"},{"success":true,"metadata":{"checksum":"<B>","cached":false},"error":""}]}`},
		"all failed": {two, map[string]string{idA: "no a", idB: "no b\ntry c"}, 1, `{"name":"source N","source_type":"N","success":false,"output":"source N finished unsuccessfully: no a\nno b\ntry c",` +
			`"results":[{"success":false,"metadata":{"checksum":"<A>","cached":false},"error":"no a"},{"success":false,"metadata":{"checksum":"<B>","cached":false},"error":"no b\ntry c"}]}`},
		"copied": {`{"method": "copy", "items": {"` + idA + `": {}}, "cache": "/c", "dst_cache": "/d"}`, nil, 0, `{"name":"source N","source_type":"N","success":true,"output":"source N finished successfully",` +
			`"results":[{"success":true,"metadata":{"checksum":"<A>","cached":true},"error":""}]}`},
		"refused": {`{"items": {}, "cache": "c"}`, nil, 2, `{"name":"source N","source_type":"N","success":false,"output":"source N finished unsuccessfully: cache: must be an absolute path, got \"c\"","results":[],"error":"cache: must be an absolute path, got \"c\""}`},
	} {
		t.Run(title, func(t *testing.T) {
			p := run(t, answers(c.errs), c.in, nil)
			want := strings.NewReplacer("N\"", name+"\"", "N f", name+" f", "<A>", idA, "<B>", idB).Replace(c.want) + "\n"
			if strings.ReplaceAll(p.stdout, `\n`, "\n") != strings.ReplaceAll(want, `\n`, "\n") {
				t.Errorf("got  %s\nwant %s", p.stdout, want)
			}
			if p.code != c.code {
				t.Errorf("exit status %d, want %d", p.code, c.code)
			}
		})
	}
}

func TestMetadataOnTheWire(t *testing.T) {
	s := answers(nil)
	s.Download = func(context.Context, *request.Request, *progress.Reporter) []request.Result {
		m := request.Metadata{Checksum: idA, Bytes: 1, Reused: 2, Seconds: 0.5, Attempts: 3}
		return []request.Result{{Success: true, Metadata: m}, {Success: true, Metadata: m}}
	}
	want := `{"checksum":"` + idA + `","cached":false,"bytes":1,"reused":2,"seconds":0.5,"attempts":3}`
	if p := run(t, s, two, nil); strings.Count(p.stdout, want) != 2 {
		t.Errorf("no %s in %s", want, p.stdout)
	}
}

func TestRefusedRequestTouchesNothing(t *testing.T) {
	s := answers(nil)
	s.Download = func(context.Context, *request.Request, *progress.Reporter) []request.Result {
		t.Error("the source was called")
		return nil
	}
	p := run(t, s, `{"items": {"`+idA+`": {"x": 1}}, "cache": "c"}`, nil)
	text := "cache: must be an absolute path, got \"c\"\nitems." + idA + ": unknown field \"x\""
	if r := p.reply(t); r.Error != text || r.Output != "source "+name+" finished unsuccessfully: "+text {
		t.Errorf("got %+v", r)
	}
	if want := name + ": request refused\n" + text + "\n"; p.stderr != want || p.code != 2 {
		t.Errorf("exit status %d, standard error %q, want %q", p.code, p.stderr, want)
	}
}

// failing is a reader that fails.
type failing struct{}

func (failing) Read([]byte) (int, error)  { return 0, errors.New("input/output error") }
func (failing) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestUnreadableRequest(t *testing.T) {
	p := run(t, answers(nil), "", func(e *module.Env) { e.Stdin = failing{} })
	if r := p.reply(t); r.Error != "read request: input/output error" || p.code != 2 {
		t.Errorf("exit status %d, got %+v", p.code, r)
	}
}

func TestReplyWithoutAReader(t *testing.T) {
	p := run(t, answers(nil), two, func(e *module.Env) { e.Stdout = failing{} })
	if want := name + ": write reply: broken pipe; what was fetched is in the cache\n"; p.stderr != want || p.code != 1 {
		t.Errorf("exit status %d, standard error %q, want %q", p.code, p.stderr, want)
	}
}

func TestPanicIsAReply(t *testing.T) {
	for title, answer := range map[string]module.Answer{
		"internal error: it broke; please report it":                            func(context.Context, *request.Request, *progress.Reporter) []request.Result { panic("it broke") },
		"internal error: " + name + ": 0 results for 2 items; please report it": func(context.Context, *request.Request, *progress.Reporter) []request.Result { return nil },
	} {
		s := answers(nil)
		s.Download = answer
		p := run(t, s, two, nil)
		if r := p.reply(t); r.Error != title || r.Success || p.code != 1 || p.stderr != title+"\n" {
			t.Errorf("exit status %d, got %+v, standard error %q", p.code, r, p.stderr)
		}
		t.Setenv(panics.Debug, "1")
		if p := run(t, s, two, nil); !strings.Contains(p.stderr, "goroutine ") {
			t.Errorf("no stack for debugging in %q", p.stderr)
		}
		t.Setenv(panics.Debug, "")
	}
}

// interruptible returns a source that fails its items when it is cancelled or, if reacts is false, ignores cancellation.
func interruptible(reacts bool) module.Source {
	s := answers(nil)
	s.Download = func(ctx context.Context, r *request.Request, _ *progress.Reporter) (results []request.Result) {
		if !reacts {
			time.Sleep(time.Hour)
		}
		<-ctx.Done()
		for _, item := range r.Items {
			results = append(results, request.Result{Metadata: request.Metadata{Checksum: item.ID.String()}, Error: "image x: " + context.Cause(ctx).Error()})
		}
		return results
	}
	return s
}

func TestSignals(t *testing.T) {
	type signals []os.Signal
	for title, c := range map[string]struct {
		source  module.Source
		change  func(*module.Env)
		signals signals
		code    int
		results int // -1: no reply at all
		wait    time.Duration
	}{
		"SIGINT":                 {interruptible(true), nil, signals{syscall.SIGINT}, 130, 2, 0},
		"SIGTERM":                {interruptible(true), nil, signals{syscall.SIGTERM}, 143, 2, 0},
		"stuck":                  {interruptible(false), nil, signals{syscall.SIGTERM}, 143, 0, 10 * time.Second},
		"a second one":           {interruptible(false), nil, signals{syscall.SIGTERM, syscall.SIGINT}, 130, -1, 0},
		"before the request":     {answers(nil), func(e *module.Env) { e.Stdin = slow("{}") }, signals{syscall.SIGINT}, 130, 0, 0},
		"without a reader":       {answers(nil), func(e *module.Env) { e.Stdout = blocked{} }, signals{syscall.SIGTERM}, 143, -1, 0},
		"when all is done":       {finishing(), nil, signals{syscall.SIGTERM}, 0, 2, 0},
		"and a panic follows":    {panicking(), nil, signals{syscall.SIGINT}, 130, 0, 0},
		"none, and none to come": {answers(nil), nil, nil, 0, 2, 0},
	} {
		t.Run(title, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				defer time.Sleep(2 * time.Hour) // for sources that ignore cancellation
				sent := make(chan os.Signal)
				go func() {
					for _, sig := range c.signals {
						time.Sleep(time.Second)
						sent <- sig
					}
				}()
				began := time.Now()
				p := run(t, c.source, two, func(e *module.Env) {
					e.Signals = sent
					if c.change != nil {
						c.change(e)
					}
				})
				if took := time.Since(began); took != time.Duration(len(c.signals))*time.Second+c.wait {
					t.Errorf("took %s", took)
				}
				if p.code != c.code {
					t.Errorf("exit status %d, want %d", p.code, c.code)
				}
				if c.results < 0 {
					if p.stdout != "" {
						t.Errorf("a reply: %s", p.stdout)
					}
					return
				}
				r := p.reply(t)
				if len(r.Results) != c.results || r.Success != (c.code == 0) || (r.Error == "interrupted") != (c.code != 0) {
					t.Errorf("got %+v", r)
				}
			})
		})
	}
}

// blocked is a full pipe.
type blocked struct{}

func (blocked) Write([]byte) (int, error) {
	time.Sleep(time.Hour)
	return 0, syscall.EPIPE
}

// slow is a request that arrives after the signal.
type slow string

func (s slow) Read(p []byte) (int, error) {
	time.Sleep(time.Minute)
	return copy(p, s), io.EOF
}

// finishing returns a source that has completed its work when it is cancelled.
func finishing() module.Source {
	s := answers(nil)
	done := s.Download
	s.Download = func(ctx context.Context, r *request.Request, log *progress.Reporter) []request.Result {
		<-ctx.Done()
		return done(ctx, r, log)
	}
	return s
}

func panicking() module.Source {
	s := answers(nil)
	s.Download = func(ctx context.Context, _ *request.Request, _ *progress.Reporter) []request.Result {
		<-ctx.Done()
		panic("it broke")
	}
	return s
}
