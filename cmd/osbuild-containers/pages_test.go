package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

var (
	shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
	public     = regexp.MustCompile(`\b[a-z]+\.io/`)
)

// others replaces the other programs that the pages run. osbuild fetches what its manifest needs.
const others = `set -e
sudo() { "$@"; }
podman() { :; }
skopeo() { :; }
osbuild() { osbuild-containers fetch --manifest image.json --cache store/sources; }
`

// TestPages runs the shell blocks of the README and of docs/getting-started.md with a test registry.
func TestPages(t *testing.T) {
	reg := registry.Start(t)
	list := images.NewList(images.Of(images.New(images.Layer(1000)), images.New(images.Arch("arm64"), images.Layer(1000))))
	for _, name := range []string{"team/base:1", "fedora/fedora-minimal:42"} {
		list.Push(t, reg.URL, name)
	}
	for name, page := range map[string]string{"getting-started": "../../docs/getting-started.md", "README": "../../README.md"} {
		script := blocks(t, page, reg.Addr)
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			self, err := os.Executable()
			conf := filepath.Join(dir, "registries.conf")
			if err := errors.Join(err, os.Symlink(self, filepath.Join(dir, "osbuild-containers")),
				os.WriteFile(conf, []byte("[[registry]]\nlocation = \""+reg.Addr+"\"\ninsecure = true\n"), 0o644)); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-c", others+script)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "CONTAINERS_REGISTRIES_CONF="+conf, "HOME="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "IMAGE ID") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// blocks returns the shell blocks of a page, for the registry at addr.
func blocks(t *testing.T, page, addr string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, m := range shellBlock.FindAllStringSubmatch(string(text), -1) {
		all.WriteString(m[1])
	}
	return strings.ReplaceAll(public.ReplaceAllString(all.String(), addr+"/"), "127.0.0.1:5000", addr)
}
