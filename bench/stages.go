package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// large is the image used to measure stages.
const large = "big"

// stage returns one of our stages, with its arguments on standard input.
func (b *bench) stage(name string, args map[string]any) tool {
	args["meta"] = map[string]any{"source-epoch": 1700000000}
	args["tree"] = filepath.Join(b.scratch(), "tree")
	return tool{name: "**ours**", line: filepath.Join(b.lib, "stages", name), stdin: encode(args)}
}

// imageInput returns a stage's input: the large image in dir: format.
func (b *bench) imageInput() map[string]any {
	return map[string]any{"images": map[string]any{
		"path": filepath.Join(b.scratch(), "inputs"),
		"data": map[string]any{"archives": map[string]any{
			b.images[large].ID: map[string]any{"format": "dir", "name": "localhost/" + large},
		}},
	}}
}

// fetched fills the scratch directory with the large image in inputs/, as for a stage, and an empty tree.
func (b *bench) fetched() error {
	if _, err := b.ask(b.request(filepath.Join(b.scratch(), "cache"), large)); err != nil {
		return err
	}
	for _, dir := range []string{"inputs", "tree"} {
		if err := os.Mkdir(filepath.Join(b.scratch(), dir), 0o755); err != nil {
			return err
		}
	}
	id := b.images[large].ID
	return os.Rename(filepath.Join(b.scratch(), "cache", "org.osbuild.containers", id, "image"), filepath.Join(b.scratch(), "inputs", id))
}

// sh runs a shell line in the scratch directory.
func (b *bench) sh(line string) error {
	cmd := exec.CommandContext(b.ctx, "sh", "-c", line)
	cmd.Dir = b.scratch()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, tail(string(out)))
	}
	return nil
}

// installed drops tools that need a missing executable.
func installed(tools []tool, needs map[string][]string) []tool {
	var found []tool
	for _, t := range tools {
		missing := false
		for _, name := range needs[t.name] {
			if _, err := exec.LookPath(name); err != nil {
				missing = true
			}
		}
		if !missing {
			found = append(found, t)
		}
	}
	return found
}

// deploy measures turning a fetched image into a tree.
func (b *bench) deploy() error {
	id := b.images[large].ID
	ours := b.stage("org.osbuild.container-deploy", map[string]any{"inputs": b.imageInput()})
	ours.prepare = b.fetched
	var layers []string
	for _, l := range b.images[large].Layers {
		layers = append(layers, "inputs/"+id+"/"+strings.TrimPrefix(l, "sha256:"))
	}
	const podman = "podman --storage-driver overlay --root $PWD/root --runroot $PWD/runroot "
	tools := []tool{
		ours, oneCore(ours),
		{name: "skopeo, podman mount, cp -a", prepare: b.fetched, line: "skopeo copy -q dir:inputs/" + id +
			" containers-storage:[overlay@$PWD/root+$PWD/runroot]localhost/t && m=$(" + podman + "image mount localhost/t) && cp -a $m/. tree/ && " +
			podman + "image umount localhost/t >/dev/null && " + podman + "rmi localhost/t >/dev/null; e=$?; umount root/overlay 2>/dev/null; exit $e"},
		{name: "pigz and tar", prepare: b.fetched, line: "for b in " + strings.Join(layers, " ") +
			"; do pigz -dc $b | tar x -C tree --xattrs --xattrs-include='*' || exit; done"},
		{name: "umoci", prepare: func() error {
			if err := b.fetched(); err != nil {
				return err
			}
			return b.sh("skopeo copy -q dir:inputs/" + id + " oci:layout:t")
		}, line: "umoci unpack --image layout:t bundle"},
		{name: "crane export and tar", prepare: b.fetched, line: "crane export --insecure " + b.images[large].Ref + ":latest - | tar x -C tree"},
	}
	return b.compare("container-deploy: an image into a tree", installed(tools, map[string][]string{
		"skopeo, podman mount, cp -a": {"skopeo", "podman"}, "pigz and tar": {"pigz"}, "umoci": {"umoci", "skopeo"}, "crane export and tar": {"crane"},
	}))
}

// place measures the skopeo stage for one of its destinations.
func (b *bench) place(kind string) error {
	ours := b.stage("org.osbuild.skopeo", map[string]any{
		"inputs":  b.imageInput(),
		"options": map[string]any{"destination": map[string]any{"type": kind, "path": "image"}},
	})
	ours.prepare = b.fetched
	tools := []tool{ours, {name: "skopeo", prepare: b.fetched, line: "skopeo copy -q dir:inputs/" + b.images[large].ID + " " + kind + ":tree/image"}}
	return b.compare("skopeo stage: an image as "+kind, installed(tools, map[string][]string{"skopeo": {"skopeo"}}))
}

// pack measures making an archive from an image's tree, compared with the commands of osbuild's own stage.
func (b *bench) pack() error {
	unpacked := func() error {
		if err := b.fetched(); err != nil {
			return err
		}
		deploy := b.stage("org.osbuild.container-deploy", map[string]any{"inputs": b.imageInput()})
		cmd := exec.CommandContext(b.ctx, deploy.line)
		cmd.Stdin = strings.NewReader(deploy.stdin)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, tail(string(out)))
		}
		return b.sh("mv tree base && mkdir tree")
	}
	ours := b.stage("org.osbuild.oci-archive", map[string]any{
		"inputs":  map[string]any{"base": map[string]any{"path": filepath.Join(b.scratch(), "base")}},
		"options": map[string]any{"architecture": "amd64", "filename": "image.tar"},
	})
	ours.prepare = unpacked
	return b.compare("oci-archive: a tree as an image", []tool{ours, {
		name: "tar, sha256sum, gzip, sha256sum, tar", prepare: unpacked,
		line: "mkdir tree/w && tar --sort=name --acls --xattrs --format=posix --pax-option=delete=atime,delete=ctime -cf tree/w/layer.tar -C base . && " +
			"sha256sum tree/w/layer.tar && gzip tree/w/layer.tar && sha256sum tree/w/layer.tar.gz && tar --remove-files --format=posix -cf tree/image.tar -C tree w",
	}})
}
