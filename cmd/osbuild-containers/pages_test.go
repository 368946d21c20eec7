package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

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
			out, err := shell(t, t.TempDir(), reg.Addr, script).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "IMAGE ID") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// shell returns a command that runs the lines of a page in dir. The registry at addr has no TLS.
func shell(t *testing.T, dir, addr, script string) *exec.Cmd {
	t.Helper()
	bin := t.TempDir()
	self, err := os.Executable()
	conf := filepath.Join(bin, "registries.conf")
	if err := errors.Join(err, os.Symlink(self, filepath.Join(bin, "osbuild-containers")),
		os.WriteFile(conf, []byte("[[registry]]\nlocation = \""+addr+"\"\ninsecure = true\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", others+script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "CONTAINERS_REGISTRIES_CONF="+conf, "HOME="+bin)
	return cmd
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

// TestRenovateReadsWhatPinExportWrites applies the expression of docs/ci.md to what pin export writes.
func TestRenovateReadsWhatPinExportWrites(t *testing.T) {
	var config struct {
		CustomManagers []struct {
			CustomType          string
			ManagerFilePatterns []string
			MatchStrings        []string
			DatasourceTemplate  string
		}
	}
	if err := json.Unmarshal([]byte(block(t, "json", 0)), &config); err != nil {
		t.Fatal(err)
	}
	manager := config.CustomManagers[0]
	if manager.CustomType != "regex" || manager.DatasourceTemplate != "docker" {
		t.Errorf("not a regex manager of images: %+v", manager)
	}
	if !regexp.MustCompile(strings.Trim(manager.ManagerFilePatterns[0], "/")).MatchString("ci/images.txt") {
		t.Errorf("%s does not match ci/images.txt", manager.ManagerFilePatterns[0])
	}

	reg := registry.Start(t)
	list := images.NewList(images.Of(images.New(images.Layer(1000)), images.New(images.Arch("arm64"), images.Layer(1000))))
	list.Push(t, reg.URL, "team/base:42")
	dir := t.TempDir()
	out, err := shell(t, dir, reg.Addr, "osbuild-containers pin "+reg.Addr+"/team/base:42 --arch amd64,arm64 >&2\nosbuild-containers pin export\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	re := regexp.MustCompile(strings.ReplaceAll(manager.MatchStrings[0], "(?<", "(?P<"))
	want := []string{"depName", reg.Addr + "/team/base", "currentValue", "42", "currentDigest", list.Digest.String()}
	found := re.FindAllStringSubmatch(string(out), -1)
	if len(found) != 1 {
		t.Fatalf("%d matches in\n%s", len(found), out)
	}
	for i := 0; i < len(want); i += 2 {
		if got := found[0][re.SubexpIndex(want[i])]; got != want[i+1] {
			t.Errorf("%s is %q, want %q", want[i], got, want[i+1])
		}
	}
}

// TestJobs runs the shell lines of docs/ci.md's jobs: nothing moved, then a moved tag, then what follows it.
func TestJobs(t *testing.T) {
	var github struct {
		Jobs struct {
			Pins struct{ Steps []struct{ Run string } }
		}
	}
	var gitlab struct {
		Build struct{ Script []string }
		Pins  struct {
			Script       []string
			AllowFailure struct {
				ExitCodes int `yaml:"exit_codes"`
			} `yaml:"allow_failure"`
		}
	}
	if err := errors.Join(yaml.Unmarshal([]byte(block(t, "yaml", 0)), &github), yaml.Unmarshal([]byte(block(t, "yaml", 1)), &gitlab)); err != nil {
		t.Fatal(err)
	}
	reg := registry.Start(t)
	name := reg.Addr + "/fedora/fedora-minimal:42"
	images.New(images.Layer(1000)).Push(t, reg.URL, "fedora/fedora-minimal:42")
	dir := t.TempDir()
	// script runs lines as the services do: each ends the job when it fails.
	script := func(status int, lines ...string) string {
		t.Helper()
		cmd := shell(t, dir, reg.Addr, strings.Join(lines, "\n"))
		out, err := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != status {
			t.Fatalf("status %d (%v), want %d\n%s", got, err, status, out)
		}
		return string(out)
	}
	manifest, _, _ := strings.Cut(blocks(t, "../../README.md", reg.Addr), "osbuild-containers pin ")
	script(0, manifest, "osbuild-containers pin "+name, "osbuild-containers pin manifest image.json")
	script(0, "git init -q -b main .", "git init -q --bare origin", "git remote add origin origin", "git add *.json", "git -c user.name=a -c user.email=a@example.com commit -qm a")
	script(0, gitlab.Build.Script...)
	script(0, gitlab.Pins.Script...)
	steps := github.Jobs.Pins.Steps
	job := steps[len(steps)-1].Run
	script(0, "gh() { echo called; exit 9; }", "GITHUB_RUN_ID=1", job)

	images.New(images.Layer(2000)).Push(t, reg.URL, "fedora/fedora-minimal:42")
	script(gitlab.Pins.AllowFailure.ExitCodes, gitlab.Pins.Script...)
	out := script(0, "gh() { echo \"gh $*\"; cat ../changes.txt; }", "GITHUB_RUN_ID=1", job)
	if !strings.Contains(out, "gh pr create") || !strings.Contains(out, name) {
		t.Errorf("no pull request with the change:\n%s", out)
	}
	if files := script(0, "git diff --name-only main origin/pins-1"); files != "containers.lock.json\nimage.json\n" {
		t.Errorf("changed: %q", files)
	}
}

// block returns the nth block of a language in docs/ci.md.
func block(t *testing.T, language string, n int) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/ci.md")
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)[n][1]
}
