package registry

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"osbuild-containers/test/output"
)

// startTimeout is generous: a busy machine, a cold page cache.
const startTimeout = 60 * time.Second

var listening = regexp.MustCompile(`listening on ([0-9.]+:[0-9]+)`)

// process is a running registry process.
type process struct {
	addr string
	log  output.Buffer
	quit chan struct{} // closed: the process shall end
	done chan error    // its end, once
}

// registryEnv drops what the registry would take for its configuration, such as the
// REGISTRY_AUTH_FILE of its clients.
func registryEnv(env []string) []string {
	return slices.DeleteFunc(env, func(v string) bool { return strings.HasPrefix(v, "REGISTRY_") })
}

// startProcess returns when the registry listens; the port is the kernel's choice
// and is read from the registry's own log.
func startProcess(bin, dir string, cfg map[string]any) (*process, error) {
	data, err := json.Marshal(cfg) // JSON is YAML
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(bin, "serve", path)
	cmd.Env = append(registryEnv(os.Environ()), "OTEL_TRACES_EXPORTER=none")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	p := &process{quit: make(chan struct{}), done: make(chan error, 1)}
	addr := make(chan string, 1)
	started := make(chan error, 1)
	go p.run(cmd, out, addr, started)
	if err := <-started; err != nil {
		return nil, err
	}
	select {
	case p.addr = <-addr:
		if p.addr != "" {
			return p, nil
		}
		return nil, errors.Join(errors.New("registry ended"), p.stop(), errors.New(p.log.String()))
	case <-time.After(startTimeout):
		return nil, errors.Join(fmt.Errorf("registry does not listen after %v\n%s", startTimeout, p.log.String()), p.stop())
	}
}

// run starts the process and waits for its end. Pdeathsig is sent when the thread
// that started the process ends, so this goroutine keeps its thread as long.
func (p *process) run(cmd *exec.Cmd, out io.Reader, addr chan<- string, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	started <- err
	if err != nil {
		return
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(addr)
		p.readLog(out, addr)
	}()
	asked := false
	select {
	case <-p.quit:
		asked = true
		_ = cmd.Process.Kill() // nothing to lose
	case <-read:
	}
	<-read
	if err = cmd.Wait(); asked {
		err = nil
	}
	p.done <- err
}

func (p *process) readLog(out io.Reader, addr chan<- string) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	known := false
	for lines.Scan() {
		if !strings.Contains(lines.Text(), `msg="response completed"`) { // requests: see Faults
			fmt.Fprintln(&p.log, lines.Text())
		}
		if m := listening.FindStringSubmatch(lines.Text()); m != nil && !known {
			known = true
			addr <- m[1]
		}
	}
	_, _ = io.Copy(io.Discard, out)
}

func (p *process) stop() error {
	close(p.quit)
	return <-p.done
}
