package crash_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"osbuild-containers/test/images"
	"osbuild-containers/test/output"
)

// limit is the maximum duration of a run.
const limit = 50 * time.Second

// object is a JSON object.
type object = map[string]any

// request asks for images from one repository, pinned by their own digests.
func request(cache, name string, imgs ...*images.Image) object {
	items := object{}
	for _, img := range imgs {
		items[img.ID.String()] = object{"image": object{"name": name, "digest": img.Digest, "tls-verify": false}}
	}
	return object{"items": items, "cache": cache}
}

// listRequest asks for a manifest list.
func listRequest(cache, name string, list *images.List) object {
	return object{"cache": cache, "items": object{list.Digest.String(): object{"image": object{"name": name, "tls-verify": false}}}}
}

// run is a process of a source.
type run struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdout bytes.Buffer
	log    output.Buffer
}

// reply is a source's reply.
type reply struct {
	Success bool   `json:"success"`
	Error   string `json:"error"`
	Output  string `json:"output"`
	Results []struct {
		Success  bool   `json:"success"`
		Error    string `json:"error"`
		Metadata struct {
			Cached bool  `json:"cached"`
			Bytes  int64 `json:"bytes"`
			Reused int64 `json:"reused"`
		} `json:"metadata"`
	} `json:"results"`
}

const (
	skopeo = "org.osbuild.skopeo"
	index  = "org.osbuild.skopeo-index"
)

// prepare makes a process that answers the request.
func prepare(t testing.TB, source string, req object) *run {
	t.Helper()
	raw, err := json.Marshal(req)
	must(t, err)
	r := &run{t: t, cmd: exec.CommandContext(t.Context(), executable(t, source))}
	r.cmd.Env = environ(t)
	r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr = bytes.NewReader(raw), &r.stdout, &r.log
	return r
}

// start starts a process that answers the request.
func start(t testing.TB, source string, req object) *run {
	t.Helper()
	r := prepare(t, source, req)
	must(t, r.cmd.Start())
	return r
}

// wait waits for the process and returns its exit status, -1 if killed, and its reply.
func (r *run) wait() (status int, rep reply) {
	r.t.Helper()
	timer := time.AfterFunc(limit, func() { r.cmd.Process.Signal(syscall.SIGQUIT) }) // prints where it hangs
	defer timer.Stop()
	_ = r.cmd.Wait()
	if r.stdout.Len() > 0 {
		if err := json.Unmarshal(r.stdout.Bytes(), &rep); err != nil {
			r.t.Errorf("the reply is %q: %v", r.stdout.String(), err)
		}
	}
	return r.cmd.ProcessState.ExitCode(), rep
}

// fetch runs a source, which must succeed.
func fetch(t testing.TB, source string, req object) reply {
	t.Helper()
	return start(t, source, req).good()
}

func (r *run) good() reply {
	r.t.Helper()
	status, rep := r.wait()
	if status != 0 || !rep.Success {
		r.t.Fatalf("exit status %d: %s\n%s", status, rep.Output, r.log.String())
	}
	return rep
}

// kill sends SIGKILL.
func (r *run) kill() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

// says waits until the log contains the text.
func (r *run) says(text string) {
	r.t.Helper()
	r.until("log line "+text, func() bool { return strings.Contains(r.log.String(), text) })
}

func (r *run) until(what string, done func() bool) {
	r.t.Helper()
	waitFor(r.t, what, done)
}

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

// newCache returns a cache in the test's directory.
func newCache(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "cache")
}
