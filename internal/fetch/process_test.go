package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
	"osbuild-containers/test/output"
)

// childVariable names, in a process started by a test, the file with its childRequest.
const childVariable = "FETCH_TEST_CHILD"

// A childRequest is one job for a child process of a test.
type childRequest struct {
	What    string // images, lists, stored, or copies of images or lists
	Wait    time.Duration
	Log     string // a file to which the log is written as it comes, if not empty
	Request request.Request
}

// run does what Images, Lists and Stored do, with shorter waits.
func (r childRequest) run(ctx context.Context) outcome {
	var log output.Buffer
	var to io.Writer = &log
	if r.Log != "" {
		f, err := os.Create(r.Log)
		must(err)
		defer f.Close()
		to = io.MultiWriter(&log, f)
	}
	rep := progress.NewLog(to)
	var res []request.Result
	switch r.What {
	case "stored":
		res = Stored(ctx, &r.Request, rep)
	case "copies of images":
		res = CopyImages(ctx, &r.Request, rep)
	case "copies of lists":
		res = CopyLists(ctx, &r.Request, rep)
	case "images", "lists":
		j := newJob(&r.Request, rep)
		j.firstWait = r.Wait
		if r.What == "images" {
			res = j.run(ctx, j.hasImage, fetchImage)
		} else {
			res = j.run(ctx, j.hasList, fetchList)
		}
		j.close()
	}
	rep.Close()
	return outcome{Results: res, Log: log.String()}
}

// command returns a child process that runs the request and writes the outcome to standard output.
func (w *world) command(r childRequest) *exec.Cmd {
	w.t.Helper()
	raw, err := json.Marshal(r)
	if err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(w.t.TempDir(), "child.json")
	put(path, string(raw))
	exe, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.CommandContext(w.t.Context(), exe)
	cmd.Env = append(os.Environ(), "HOME="+w.home, "XDG_RUNTIME_DIR="+filepath.Join(w.home, "run"), "PATH="+filepath.Join(w.home, "bin")+":"+os.Getenv("PATH"), "TMPDIR="+filepath.Join(w.home, "tmp"), childVariable+"="+path,
		"GORACE=atexit_sleep_ms=0")
	cmd.Env = append(cmd.Env, w.env...)
	return cmd
}

func (w *world) send(r childRequest) outcome {
	w.t.Helper()
	cmd := w.command(r)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		w.t.Fatalf("the test's process: %v, it wrote\n%s", err, stderr.String())
	}
	var out outcome
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		w.t.Fatalf("the test's process: %v: %q", err, stdout.String())
	}
	return out
}

// runChild is the main function of a child process.
func runChild(path string) (status int) {
	var r childRequest
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err == nil {
		out := r.run(context.Background())
		out.Peak = peakMemory()
		err = json.NewEncoder(os.Stdout).Encode(out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// peakMemory returns the peak resident size of this process, in bytes.
func peakMemory() int64 {
	raw, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kb << 10
		}
	}
	return 0
}
