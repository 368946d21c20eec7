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
	"strings"
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

// arguments are what a stage reads: where its tree and its inputs are.
type arguments struct {
	Tree    string           `json:"tree"`
	Inputs  map[string]input `json:"inputs"`
	Options options          `json:"options"`
}

type options struct {
	IgnoreOwners bool `json:"ignore-owners"` // the demo needs no root
}

type input struct {
	Path string `json:"path"`
	Data data   `json:"data"`
}

type data struct {
	Archives map[string]archive `json:"archives"`
}

type archive struct {
	Format string `json:"format"`
	Name   string `json:"name"`
}

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

// runner runs what make has built, and shows it.
type runner struct {
	out   io.Writer
	build string // where the executables are
	dir   string // what is made, an absolute path
	cache string
	steps int
}

func (r *runner) step(text string) {
	r.steps++
	fmt.Fprintf(r.out, "\n%d. %s\n", r.steps, text)
}

func (r *runner) show(mark, text string) {
	if text != "" {
		fmt.Fprint(r.out, indented(mark, text))
	}
}

// tool runs a command of the tool, and shows it with all that it writes.
func (r *runner) tool(args ...string) error {
	path := filepath.Join(r.build, "osbuild-containers")
	r.show("  ", "$ "+path+" "+strings.Join(args, " "))
	text, err := exec.Command(path, args...).CombinedOutput()
	r.show("  | ", shorten(string(text)))
	if err != nil {
		return fmt.Errorf("%s %s: %w", path, args[0], err)
	}
	return nil
}

// module pipes a request into a source or a stage. It shows the request, the log and
// the reply, unless they were shown before.
func (r *runner) module(name string, request any, shown bool) (reply []byte, err error) {
	in, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(r.build, "libdir", name)
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(path)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &stdout, &stderr
	start := time.Now()
	err = cmd.Run()
	took := time.Since(start).Round(time.Millisecond)

	r.show("  ", "$ echo '…' | "+path)
	if !shown {
		r.show("  < ", pretty(in))
		r.show("  | ", shorten(stderr.String()))
		r.show("  > ", pretty(bytes.TrimSpace(stdout.Bytes())))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s%s", name, err, stderr.Bytes(), stdout.Bytes())
	}
	r.show("  ", fmt.Sprintf("exit status 0 after %v", took))
	return stdout.Bytes(), nil
}

// fetch runs a source and checks the reply: success for all, and cached or not as
// expected.
func (r *runner) fetch(source string, req request, cached bool) error {
	out, err := r.module("sources/"+source, req, cached)
	if err != nil {
		return err
	}
	return check(out, len(req.Items), cached)
}

// deploy unpacks an image of the cache into a tree, as osbuild has the stage do it,
// and runs a program of that tree.
func (r *runner) deploy(img *images.Image, name string) error {
	id := img.ID.String()
	tree, inputs := filepath.Join(r.dir, "tree"), filepath.Join(r.dir, "inputs")
	stored := filepath.Join("..", "cache", "org.osbuild.containers", id, "image")
	if err := errors.Join(os.Mkdir(inputs, 0o755), os.Mkdir(tree, 0o755), os.Symlink(stored, filepath.Join(inputs, id))); err != nil {
		return err
	}
	if _, err := r.module("stages/org.osbuild.container-deploy", arguments{
		Tree: tree,
		Inputs: map[string]input{"images": {Path: inputs, Data: data{Archives: map[string]archive{
			id: {Format: "dir", Name: name},
		}}}},
		Options: options{IgnoreOwners: true},
	}, false); err != nil {
		return err
	}
	program := filepath.Join(tree, "bin", "uname")
	text, err := exec.Command(program).CombinedOutput()
	r.show("  ", "$ "+program)
	r.show("  | ", string(text))
	return err
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
func (r *runner) showCache(list *images.List, all ...*images.Image) error {
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
		data, err := os.ReadFile(filepath.Join(r.cache, path))
		if err == nil && digest.FromBytes(data) != sum {
			err = fmt.Errorf("%s is not as it was pushed", path)
		}
		wrong = append(wrong, err)
	}
	text, err := tree(r.cache)
	r.show("  ", text)
	return errors.Join(append(wrong, err)...)
}
