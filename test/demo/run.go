package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/test/images"
)

// request is what a source reads from its standard input.
type request struct {
	Items map[string]item `json:"items"`
	Cache string          `json:"cache"`
}

type item struct {
	Image image `json:"image"`
}

type image struct {
	Name      string `json:"name"`
	Digest    string `json:"digest,omitempty"`
	TLSVerify bool   `json:"tls-verify"`
}

func imageOf(name, digest string) image { return image{Name: name, Digest: digest} }

// reply is the part of the answer that is checked.
type reply struct {
	Success bool   `json:"success"`
	Output  string `json:"output"`
	Results []struct {
		Metadata struct {
			Cached bool `json:"cached"`
		} `json:"metadata"`
	} `json:"results"`
}

// stage is where the demo plays.
type stage struct {
	out    io.Writer
	libdir string
	cache  string
	steps  int
}

func (d *stage) step(text string) {
	d.steps++
	fmt.Fprintf(d.out, "\n%d. %s\n", d.steps, text)
}

func (d *stage) show(mark, text string) { fmt.Fprint(d.out, indented(mark, text)) }

// fetch pipes the request into a source and checks the reply: success for all, and
// cached or not as expected.
func (d *stage) fetch(source string, r request, cached bool) error {
	in, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := filepath.Join(d.libdir, "sources", source)
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(path)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &stdout, &stderr
	start := time.Now()
	err = cmd.Run()
	took := time.Since(start).Round(time.Millisecond)

	d.show("  ", "$ echo '…' | "+path)
	if !cached { // the second time it is the same
		d.show("  < ", pretty(in))
		d.show("  | ", shorten(stderr.String()))
		d.show("  > ", pretty(bytes.TrimSpace(stdout.Bytes())))
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s%s", source, err, stderr.Bytes(), stdout.Bytes())
	}
	d.show("  ", fmt.Sprintf("exit status 0 after %v", took))
	return check(stdout.Bytes(), len(r.Items), cached)
}

func check(stdout []byte, items int, cached bool) error {
	var got reply
	if err := json.Unmarshal(stdout, &got); err != nil {
		return fmt.Errorf("reply: %w: %q", err, stdout)
	}
	if !got.Success || len(got.Results) != items {
		return fmt.Errorf("success %t with %d results for %d items: %s", got.Success, len(got.Results), items, got.Output)
	}
	for i, r := range got.Results {
		if r.Metadata.Cached != cached {
			return fmt.Errorf("result %d: cached is %t", i, r.Metadata.Cached)
		}
	}
	return nil
}

// showCache lists what a build sees, and compares each byte with what was pushed.
func (d *stage) showCache(list *images.List, all ...*images.Image) error {
	want := map[string]digest.Digest{"org.osbuild.files/" + list.Digest.String(): list.Digest}
	for _, img := range all {
		dir := "org.osbuild.containers/" + img.ID.String() + "/image/"
		want[dir+"manifest.json"] = img.Digest
		want[dir+img.ID.Encoded()] = img.ID
		for _, l := range img.Layers {
			want[dir+l.Digest.Encoded()] = l.Digest
		}
	}
	var wrong []error
	for path, sum := range want {
		data, err := os.ReadFile(filepath.Join(d.cache, path))
		if err == nil && digest.FromBytes(data) != sum {
			err = fmt.Errorf("%s is not as it was pushed", path)
		}
		wrong = append(wrong, err)
	}
	text, err := tree(d.cache)
	d.show("  ", text)
	return errors.Join(append(wrong, err)...)
}
