package cache

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// jobVariable holds, in a process that a test started, what it is to do.
const jobVariable = "CACHE_TEST_JOB"

// job is what a process that a test started does. It says on standard output how far it
// is, a line each, and waits on standard input where the job says so.
type job struct {
	Do    string // a key of jobs
	Dir   string // of the cache
	Seed  uint64
	Size  int
	Count int
	Umask int
}

var jobs = map[string]func(*job) error{
	"put":     (*job).put,
	"hold":    (*job).hold,
	"many":    (*job).many,
	"stage":   (*job).stage,
	"publish": (*job).publish,
	"all":     (*job).all,
	"collect": (*job).collect,
}

func runJob() int {
	var j job
	err := json.Unmarshal([]byte(os.Getenv(jobVariable)), &j)
	if err == nil {
		unix.Umask(j.Umask)
		err = jobs[j.Do](&j)
	}
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println("done")
	return 0
}

func bytesReader(b []byte) io.Reader { return struct{ io.Reader }{bytes.NewReader(b)} }

// put brings one blob into the pool.
func (j *job) put() error {
	p, err := Open(j.Dir).OpenPool(context.Background())
	if err != nil {
		return err
	}
	defer p.Close()
	return put(p, content(j.Seed, j.Size))
}

// hold acquires a blob, writes half of what is missing, and commits it when told so.
func (j *job) hold() error {
	p, err := Open(j.Dir).OpenPool(context.Background())
	if err != nil {
		return err
	}
	defer p.Close()
	b := content(j.Seed, j.Size)
	d := descriptor(b)
	w, err := p.Acquire(context.Background(), d.Digest, d.Size, func() { fmt.Println("waiting") })
	if errors.Is(err, ErrExists) {
		fmt.Println("there")
		return nil
	}
	if err != nil {
		return err
	}
	defer w.Close()
	n, err := w.Resume(context.Background())
	if err != nil {
		return err
	}
	half := n + (d.Size-n)/2
	if err := w.append(b[n:half]); err != nil {
		return err
	}
	fmt.Println("holding from", n)
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
		return err
	}
	if err := w.append(b[half:]); err != nil {
		return err
	}
	return w.Commit()
}

// many brings many blobs into the pool, in an order of its own, and counts what it wrote.
func (j *job) many() error {
	p, err := Open(j.Dir).OpenPool(context.Background())
	if err != nil {
		return err
	}
	defer p.Close()
	wrote := 0
	for i := range j.Count {
		b := content(uint64((i*int(j.Seed))%j.Count), j.Size)
		d := descriptor(b)
		w, err := p.Acquire(context.Background(), d.Digest, d.Size, nil)
		if errors.Is(err, ErrExists) {
			continue
		}
		if err != nil {
			return err
		}
		if err := w.append(b); err != nil {
			return err
		}
		if err := w.Commit(); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		wrote++
	}
	fmt.Println("wrote", wrote)
	return nil
}

// stage makes a stage and keeps it until told to continue.
func (j *job) stage() error {
	p, err := Open(j.Dir).OpenPool(context.Background())
	if err != nil {
		return err
	}
	defer p.Close()
	s, err := newStage(p.staging, stagePrefix)
	if err != nil {
		return err
	}
	defer s.remove()
	fmt.Println("staged", s.dir.path)
	_, err = os.Stdin.Read(make([]byte, 1))
	return err
}

// publish publishes two variants of an image in turn.
func (j *job) publish() error {
	c := Open(j.Dir)
	p, err := c.OpenPool(context.Background())
	if err != nil {
		return err
	}
	defer p.Close()
	for i := range j.Count {
		if err := draw(j.Seed, uint64(i%2)).publish(c, p); err != nil {
			return err
		}
	}
	return nil
}

// all does a bit of everything: an image, its repair, with a list, a file linked, and a list file.
func (j *job) all() error {
	c := Open(j.Dir)
	p, err := c.OpenPool(context.Background())
	if err != nil {
		return err
	}
	defer p.Close()
	for variant := range uint64(2) {
		img := draw(j.Seed, variant)
		img.List = allList(variant)
		img.Origins = allOrigins(variant)
		if err := img.publish(c, p); err != nil {
			return err
		}
	}
	if err := c.AddOrigin(context.Background(), draw(j.Seed, 0).id, Origin{Name: "known"}); err != nil {
		return err
	}
	original := content(7, 1000)
	path := filepath.Join(j.Dir, "original")
	if err := os.WriteFile(path, original, 0o644); err != nil {
		return err
	}
	if ok, err := p.linkFile(context.Background(), path, descriptor(original).Digest, 1000); err != nil || !ok {
		return fmt.Errorf("link: %t, %w", ok, err)
	}
	list := allList(0)
	return c.PublishFile(context.Background(), descriptor(list).Digest, list)
}

// allOrigins are those of a variant: a name of its own, and one that both have.
func allOrigins(variant uint64) []Origin {
	at := time.Date(2026, 6, 1, 12, 0, int(variant), 0, time.UTC)
	return []Origin{{Name: fmt.Sprint("name", variant), Fetched: at}, {Name: "both", Fetched: at}}
}

func allList(variant uint64) []byte { return fmt.Append(nil, "list ", variant) }

// process is a process that a test started.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string
}

// command is a process that does the job.
func (j job) command(t testing.TB) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	raw, err := json.Marshal(j)
	must(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), jobVariable+"="+string(raw), "GORACE=atexit_sleep_ms=0")
	return cmd
}

// run does the job in another process.
func (j job) run(t testing.TB) (out string, err error) {
	t.Helper()
	raw, err := j.command(t).CombinedOutput()
	return strings.TrimSpace(string(raw)), err
}

// start starts a process that does the job.
func (j job) start(t testing.TB) *process {
	t.Helper()
	p := &process{t: t, cmd: j.command(t), lines: make(chan string, 100)}
	var err error
	p.stdin, err = p.cmd.StdinPipe()
	must(t, err)
	out, err := p.cmd.StdoutPipe()
	must(t, err)
	must(t, p.cmd.Start())
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() { p.kill() })
	return p
}

// says waits for the next line, which must be one of these.
func (p *process) says(want ...string) string {
	p.t.Helper()
	select {
	case got, ok := <-p.lines:
		if !ok || !slices.Contains(want, got) {
			p.t.Fatalf("the process says %q, want one of %q", got, want)
		}
		return got
	case <-time.After(time.Minute):
		p.t.Fatalf("the process does not say any of %q", want)
		return ""
	}
}

// goOn lets the process continue.
func (p *process) goOn() {
	p.t.Helper()
	_, err := p.stdin.Write([]byte{'\n'})
	must(p.t, err)
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}
