package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// unpacked returns a run of our tool that unpacks the large image, which is cached.
func (b *bench) unpacked(ours, format string) tool {
	return tool{
		name: "**ours**",
		line: ours + " unpack --cache cache --format " + format + " " + b.images[large].ID + " out",
		prepare: func() error {
			_, err := b.ask(b.request(filepath.Join(b.scratch(), "cache"), large))
			return err
		},
	}
}

// unpack measures writing a cached image as a directory, and as one archive.
func (b *bench) unpack() error {
	ours, err := b.ourTool()
	if err != nil {
		return err
	}
	deploy := b.stage("org.osbuild.container-deploy", map[string]any{"inputs": b.imageInput()})
	deploy.name, deploy.prepare = "container-deploy", b.fetched
	if err := b.compare("unpack: an image as a directory", []tool{b.unpacked(ours, "dir"), deploy}); err != nil {
		return err
	}
	image := b.images[large].at()
	const podman = "podman --storage-driver overlay --root $PWD/root --runroot $PWD/runroot "
	tools := []tool{
		b.unpacked(ours, "tar"),
		{name: "ours, from the registry", line: ours + " unpack --no-cache --tls-verify=false --format tar " + image + " out"},
		{name: "crane export, from the registry", line: "crane export --insecure " + image + " out"},
		{name: "podman export, pulled before", prepare: func() error {
			return b.sh(podman + "pull -q --tls-verify=false " + image)
		}, line: "c=$(" + podman + "create " + image + " x) && " + podman + "export -o out $c; e=$?; " +
			podman + "rm -f $c; umount root/overlay 2>/dev/null; exit $e"},
	}
	return b.compare("unpack: an image as one archive", installed(tools, map[string][]string{
		"crane export, from the registry": {"crane"}, "podman export, pulled before": {"podman"},
	}))
}

// disks measures writing a cached image as one file system, and as a chain of images.
func (b *bench) disks() error {
	ours, err := b.ourTool()
	if err != nil {
		return err
	}
	id := b.images[large].ID
	var layers []string
	for _, l := range b.images[large].Layers {
		layers = append(layers, "inputs/"+id+"/"+strings.TrimPrefix(l, "sha256:"))
	}
	deploy := b.stage("org.osbuild.container-deploy", map[string]any{"inputs": b.imageInput()})
	const mke2fs = " && truncate -s 4G out && mke2fs -q -t ext4 -d tree out"
	deploy.name, deploy.line, deploy.prepare = "container-deploy and mke2fs -d", deploy.line+mke2fs, b.fetched
	tools := installed([]tool{
		b.unpacked(ours, "ext4"), deploy,
		{name: "pigz, tar and mke2fs -d", prepare: b.fetched, line: "for b in " + strings.Join(layers, " ") +
			"; do pigz -dc $b | tar x -C tree --xattrs --xattrs-include='*' || exit; done" + mke2fs},
	}, map[string][]string{"container-deploy and mke2fs -d": {"mke2fs"}, "pigz, tar and mke2fs -d": {"pigz", "mke2fs"}})
	if err := b.compare("unpack: an image as one ext4 file system", tools); err != nil {
		return err
	}
	tools = []tool{b.unpacked(ours, "qcow2")}
	if _, err := exec.LookPath("qemu-img"); err == nil && os.Geteuid() == 0 { // to mount
		tools = append(tools, tool{name: "tar into a loop mount, and qemu-img convert -B", prepare: b.fetched, line: loopChain(layers)})
	}
	return b.compare("unpack: an image as a chain of qcow2 images", tools)
}

// loopChain returns a script that makes a chain as virt-bootstrap does, but with the kernel instead of an appliance.
func loopChain(layers []string) string {
	return `truncate -s 4G raw && mke2fs -q -t ext4 raw && mkdir m out && n=0
for b in ` + strings.Join(layers, " ") + `; do
	mount -o loop raw m && $(command -v pigz || echo gzip) -dc $b | tar x -C m --xattrs --xattrs-include='*'
	e=$?; umount m; [ $e = 0 ] || exit $e
	if [ $n = 0 ]; then
		qemu-img convert -f raw -O qcow2 raw out/layer-0.qcow2
	else
		qemu-img convert -f raw -O qcow2 -B layer-$((n-1)).qcow2 -F qcow2 raw out/layer-$n.qcow2
	fi || exit
	n=$((n+1))
done`
}
