package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// options are the options on the command line.
type options struct {
	runs    int
	images  string // JSON file, "" to make images
	dir     string // scratch
	lib     string // libdir with our executables
	fresh   string // command that empties the scratch directory
	osbuild string // checkout, "" for none
}

// bench has what all measurements share.
type bench struct {
	options
	ctx    context.Context // ends on ^C
	source string          // our org.osbuild.skopeo
	images map[string]pinned
}

func newBench(ctx context.Context, o options) (b *bench, err error) {
	for _, path := range []*string{&o.dir, &o.lib} {
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, err
		}
	}
	source := filepath.Join(o.lib, "sources", "org.osbuild.skopeo")
	if _, err := os.Stat(source); err != nil {
		return nil, fmt.Errorf("%w: run make first", err)
	}
	return &bench{options: o, ctx: ctx, source: source, images: map[string]pinned{}}, os.MkdirAll(o.dir, 0o755)
}

// ourTool returns the path of osbuild-containers.
func (b *bench) ourTool() (string, error) {
	path := filepath.Join(filepath.Dir(b.lib), "osbuild-containers")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: run make first", err)
	}
	return path, nil
}

// tool is a command to measure: a shell line, run in an empty scratch directory.
type tool struct {
	name, line, stdin string
	keep              bool         // keep the content of the scratch directory
	prepare           func() error // fills the scratch directory, not measured
}

// sample is one run of a tool.
type sample struct {
	wall, cpu time.Duration
	rss       int64 // bytes, of the largest process
	disk      int64 // bytes used afterwards
}

func (b *bench) scratch() string { return filepath.Join(b.dir, "run") }

// clear empties the scratch directory, with the given command or by deleting.
func (b *bench) clear() error {
	if b.fresh != "" {
		if out, err := exec.CommandContext(b.ctx, "sh", "-c", b.fresh).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", b.fresh, err, out)
		}
	}
	if err := os.RemoveAll(b.scratch()); err != nil {
		return err
	}
	if err := os.Mkdir(b.scratch(), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.scratch(), "regctl.json"), []byte(b.regctl()), 0o644); err != nil {
		return err
	}
	unix.Sync()
	return nil
}

// regctl writes a configuration that makes regctl use the registries without TLS.
func (b *bench) regctl() string {
	hosts := map[string]any{}
	for _, p := range b.images {
		host, _, _ := strings.Cut(p.Ref, "/")
		hosts[host] = map[string]any{"tls": "disabled", "hostname": host}
	}
	return encode(map[string]any{"hosts": hosts})
}

// measure runs a tool once.
func (b *bench) measure(t tool) (sample, error) {
	if !t.keep {
		if err := b.clear(); err != nil {
			return sample{}, err
		}
	}
	if t.prepare != nil {
		if err := t.prepare(); err != nil {
			return sample{}, fmt.Errorf("prepare %s: %w", t.name, err)
		}
		unix.Sync()
	}
	var out bytes.Buffer
	before := diskUsage(b.scratch())
	cmd := exec.CommandContext(b.ctx, "sh", "-c", t.line)
	cmd.Dir = b.scratch()
	cmd.Stdin = strings.NewReader(t.stdin)
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return sample{}, fmt.Errorf("%s: %w: %s", t.name, err, tail(out.String()))
	}
	s := sample{wall: time.Since(began), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.rss = ru.Maxrss << 10
	}
	s.disk = diskUsage(b.scratch()) - before
	return s, nil
}

func tail(s string) string {
	if len(s) > 400 {
		s = "…" + s[len(s)-400:]
	}
	return strings.TrimSpace(s)
}

// diskUsage returns the bytes allocated for a directory's files, each inode counted once.
func diskUsage(dir string) int64 {
	seen := map[uint64]bool{}
	var total int64
	_ = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && unix.Lstat(path, &st) == nil && !seen[st.Ino] {
			seen[st.Ino] = true
			total += st.Blocks * 512
		}
		return nil
	})
	return total
}

// compare runs the tools in turn, ours first, and prints a table.
func (b *bench) compare(title string, tools []tool) error {
	samples := make([][]sample, len(tools))
	for round := range b.runs + 1 {
		for i := range tools {
			n := (i + round) % len(tools) // a different order each round
			s, err := b.measure(tools[n])
			if err != nil {
				return err
			}
			if round > 0 {
				samples[n] = append(samples[n], s)
			}
		}
	}
	fmt.Printf("\n## %s\n\n| tool | wall s (min–max) | CPU s | peak MiB | disk MB | ours/this, wall | CPU |\n|---|---|---|---|---|---|---|\n", title)
	for i, t := range tools {
		wall, cpu := seconds(samples[i], func(s sample) time.Duration { return s.wall }), seconds(samples[i], func(s sample) time.Duration { return s.cpu })
		last := samples[i][len(samples[i])-1]
		fmt.Printf("| %s | %.3f (%.3f–%.3f) | %.2f | %d | %.0f | %.2f | %.2f |\n",
			t.name, wall[1], wall[0], wall[2], cpu[1], last.rss>>20, float64(last.disk)/1e6,
			ratio(samples[0], samples[i], func(s sample) time.Duration { return s.wall }),
			ratio(samples[0], samples[i], func(s sample) time.Duration { return s.cpu }))
	}
	return nil
}

// seconds returns minimum, median and maximum.
func seconds(samples []sample, of func(sample) time.Duration) [3]float64 {
	var v []float64
	for _, s := range samples {
		v = append(v, of(s).Seconds())
	}
	slices.Sort(v)
	return [3]float64{v[0], v[len(v)/2], v[len(v)-1]}
}

// ratio returns the median of the ratios between runs of the same round.
func ratio(a, b []sample, of func(sample) time.Duration) float64 {
	var v []float64
	for i := range a {
		v = append(v, of(a[i]).Seconds()/max(of(b[i]).Seconds(), 1e-6))
	}
	slices.Sort(v)
	return v[len(v)/2]
}
