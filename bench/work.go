package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// peers returns the installed peers' ways to fetch these images, each made durable.
func (b *bench) peers(names []string) []tool {
	each := func(format string) string {
		var lines []string
		for _, n := range names {
			lines = append(lines, strings.NewReplacer("AT", b.images[n].at(), "REF", b.images[n].Ref, "NAME", n).Replace(format))
		}
		return strings.Join(lines, " && ") + " && sync -f ."
	}
	refs := make([]string, len(names))
	for i, n := range names {
		refs[i] = b.images[n].Ref + ":latest"
	}
	all := []tool{
		{name: "oras", line: each("oras copy --no-tty --from-plain-http REF:latest --to-oci-layout ./layout:NAME")},
		{name: "crane", line: "crane pull --insecure --format=oci " + strings.Join(refs, " ") + " ./layout && sync -f ."},
		{name: "regctl", line: each("REGCTL_CONFIG=regctl.json regctl image copy REF:latest ocidir://layout:NAME")},
		{name: "skopeo", line: each("skopeo copy -q --src-tls-verify=false docker://AT dir:./NAME")},
		{name: "skopeo-new", line: each("skopeo-new copy -q --src-tls-verify=false docker://AT dir:./NAME")},
	}
	var found []tool
	for _, t := range all {
		if _, err := exec.LookPath(t.name); err == nil {
			found = append(found, t)
		}
	}
	return found
}

// fetch measures a cold fetch of the images.
func (b *bench) fetch(title string, names ...string) error {
	var bytes int64
	for _, n := range names {
		bytes += b.images[n].Bytes
	}
	ours := tool{name: "**ours**", line: b.source, stdin: b.request(filepath.Join(b.scratch(), "cache"), names...)}
	return b.compare(fmt.Sprintf("%s (%.0f MB)", title, float64(bytes)/1e6), append([]tool{ours}, b.peers(names)...))
}

// cached measures whole processes for requests answered from the cache.
func (b *bench) cached() error {
	for _, n := range []int{1, 100, 20_000} {
		if err := b.clear(); err != nil {
			return err
		}
		request, err := fill(filepath.Join(b.scratch(), "cache"), n)
		if err != nil {
			return err
		}
		tools := []tool{{name: "**ours**", line: b.source, stdin: request, keep: true}}
		if err := b.compare(fmt.Sprintf("everything cached, %d items", n), tools); err != nil {
			return err
		}
	}
	return nil
}

// reply is the part of a source's reply that is read.
type reply struct {
	Success bool
	Output  string
	Results []struct {
		Metadata struct{ Bytes, Reused int64 }
	}
}

// ask runs our source with a request.
func (b *bench) ask(request string) (r reply, err error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(b.ctx, b.source)
	cmd.Stdin, cmd.Stdout = strings.NewReader(request), &out
	if err := cmd.Run(); err != nil {
		return r, fmt.Errorf("%w: %s", err, tail(out.String()))
	}
	return r, json.Unmarshal(out.Bytes(), &r)
}

// together measures eight processes fetching the same image at the same time.
func (b *bench) together() error {
	if err := b.clear(); err != nil {
		return err
	}
	request := b.request(filepath.Join(b.scratch(), "cache"), "big")
	var wg sync.WaitGroup
	replies, errs := make([]reply, 8), make([]error, 8)
	began := time.Now()
	for i := range replies {
		wg.Go(func() { replies[i], errs[i] = b.ask(request) })
	}
	wg.Wait()
	wall := time.Since(began)
	var bytes int64
	for i, r := range replies {
		if errs[i] != nil {
			return errs[i]
		}
		for _, res := range r.Results {
			bytes += res.Metadata.Bytes
		}
	}
	fmt.Printf("\n## eight processes, the same image at the same moment\n\n%.2f times the image's bytes downloaded by all of them, %.2f s\n",
		float64(bytes)/float64(b.images["big"].Bytes), wall.Seconds())
	return nil
}

// killed kills a fetch when nine tenths have been downloaded, and repeats it.
func (b *bench) killed() error {
	if err := b.clear(); err != nil {
		return err
	}
	cache := filepath.Join(b.scratch(), "cache")
	request, size := b.request(cache, "big"), b.images["big"].Bytes
	cmd := exec.CommandContext(b.ctx, b.source)
	cmd.Stdin = strings.NewReader(request)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	pool := filepath.Join(cache, "org.osbuild.containers", ".pool")
	for have := int64(0); have < size/10*9; have = length(pool) {
		select {
		case err := <-ended:
			return fmt.Errorf("the fetch to be killed ended by itself: %w", err)
		case <-time.After(time.Millisecond):
		}
	}
	if err := cmd.Process.Signal(unix.SIGKILL); err != nil {
		return err
	}
	if err := <-ended; err == nil {
		return errors.New("the fetch to be killed ended before")
	}
	there := length(pool)
	r, err := b.ask(request)
	if err != nil {
		return err
	}
	var again int64
	for _, res := range r.Results {
		again += res.Metadata.Bytes
	}
	fmt.Printf("\n## killed when %.1f %% were there, and run again\n\n%.1f %% were downloaded again\n",
		100*float64(there)/float64(size), 100*float64(again)/float64(size))
	return nil
}

// length returns the total size of the files below dir, in bytes.
func length(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if fi, err := d.Info(); err == nil {
				total += fi.Size()
			}
		}
		return nil
	})
	return total
}
