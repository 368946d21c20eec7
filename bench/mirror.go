package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"osbuild-containers/test/registry"
)

// mirror measures copying the eight images that share layers to an empty registry, new for each run, in the scratch
// directory, whose content is the disk usage.
func (b *bench) mirror() error {
	ours, err := b.ourTool()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-mirror-") // not in the scratch directory, which is emptied
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var refs, hosts []string
	for _, name := range b.apps() {
		host, _, _ := strings.Cut(b.images[name].Ref, "/")
		hosts = append(hosts, fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", host))
		refs = append(refs, b.images[name].Ref+":latest")
	}
	conf, pins := filepath.Join(dir, "registries.conf"), filepath.Join(dir, "pins.json")
	if err := os.WriteFile(conf, []byte(hosts[0]), 0o644); err != nil {
		return err
	}
	pin := exec.CommandContext(b.ctx, ours, append([]string{"pin", "--arch", "any", "--pins", pins}, refs...)...)
	pin.Env = append(os.Environ(), "CONTAINERS_REGISTRIES_CONF="+conf)
	if out, err := pin.CombinedOutput(); err != nil {
		return fmt.Errorf("pin: %w: %s", err, tail(string(out)))
	}
	each := func(line string) string {
		var lines []string
		for n, ref := range refs {
			lines = append(lines, strings.NewReplacer("REF", ref, "DEST", fmt.Sprintf("$(cat dest)/m/app%d:latest", n+1)).Replace(line))
		}
		return strings.Join(lines, " && ")
	}
	tools := []tool{
		{name: "**ours**", line: "CONTAINERS_REGISTRIES_CONF=" + conf + " " + ours + " mirror $(cat dest)/m --dest-tls-verify=false --cache none --pins " + pins},
		{name: "skopeo sync", line: each("skopeo sync -s docker -d docker --src-tls-verify=false --dest-tls-verify=false REF $(cat dest)/m")},
		{name: "skopeo-new sync", line: each("skopeo-new sync -s docker -d docker --src-tls-verify=false --dest-tls-verify=false REF $(cat dest)/m")},
		{name: "crane copy", line: each("crane copy --insecure REF DEST")},
		{name: "regsync", line: "regsync once -c regsync.yml"},
		{name: "regctl image copy", line: each("REGCTL_CONFIG=regctl.json regctl image copy REF DEST")},
		{name: "oras copy", line: each("oras copy --no-tty --from-plain-http --to-plain-http REF DEST")},
	}
	tools = installed(tools, map[string][]string{
		"skopeo sync": {"skopeo"}, "skopeo-new sync": {"skopeo-new"}, "crane copy": {"crane"}, "regsync": {"regsync"},
		"regctl image copy": {"regctl"}, "oras copy": {"oras"},
	})
	var to *registry.Registry
	for n := range tools {
		tools[n].prepare = func() (err error) {
			if to != nil {
				_ = to.Close()
			}
			if to, err = registry.Run(filepath.Join(b.scratch(), "registry")); err != nil {
				return err
			}
			b.images["mirror"] = pinned{Ref: to.Addr + "/m"} // so that regctl speaks to it without TLS
			defer delete(b.images, "mirror")
			if err := os.WriteFile(filepath.Join(b.scratch(), "regctl.json"), []byte(b.regctl()), 0o644); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(b.scratch(), "regsync.yml"), []byte(regsync(refs, to.Addr)), 0o644); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(b.scratch(), "dest"), []byte(to.Addr), 0o644)
		}
	}
	defer func() {
		if to != nil {
			_ = to.Close()
		}
	}()
	return b.compare("mirror of eight images that share three layers, to an empty registry", tools)
}

// regsync returns a configuration for regsync that copies four images in parallel.
func regsync(refs []string, to string) string {
	from, _, _ := strings.Cut(refs[0], "/")
	text := fmt.Sprintf("version: 1\ncreds: [{registry: %q, tls: disabled}, {registry: %q, tls: disabled}]\n", from, to) +
		"defaults: {parallel: 4}\nsync:\n"
	for n, ref := range refs {
		text += fmt.Sprintf("- {type: image, source: %q, target: %q}\n", ref, fmt.Sprintf("%s/m/app%d:latest", to, n+1))
	}
	return text
}
