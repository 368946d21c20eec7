package main

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"osbuild-containers/internal/cli"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/userns"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// rootCache is root's default cache.
const rootCache = "/var/cache/osbuild/sources"

var update = flag.Bool("update", false, "rewrite the golden files of the scripts")

func TestMain(m *testing.M) {
	if image.Reexec() {
		return
	}
	testscript.Main(m, map[string]func(){
		cli.Name: func() { os.Exit(run()) },
	})
}

// What the tool answers in JSON is compared with its schema, see run.
//
// The scripts in testdata/script run the whole tool, each with its own home directory, against one real registry: $REG is its
// address, and $NAME a name for the script's images. Commands in addition to testscript's:
//
//	image NAME[:TAG]… [layer=BYTES]… [arch=ARCH[/VARIANT]]… [seed=N] [base=NAME@DIGEST] [docker]
//		pushes an image, or a manifest list for several arch=, and sets the variables
//		DIGEST (of what was pushed), ID, for lists ID_<arch> and DIGEST_<arch>, and
//		LAYER_<n> and SIZE_<n> (of the last architecture's layers, from 1).
//		base= sets the annotations that name the image's base.
//	delete NAME@DIGEST, delete NAME@TAG
//		removes a manifest, or a tag, from the registry.
//	expand FILE…
//		replaces $-variables in files.
//	unchanged PROGRAM [ARGUMENT]…
//		runs a program, which must succeed, and change no file or directory of the script.
//	status N PROGRAM [ARGUMENT]…
//		runs a program, which must exit with that status.
//	golden FILE [GOT]
//		compares the standard output of the last command, or the file GOT, with FILE, in which
//		$-variables are replaced; ${short NAME} is the start of the digest in NAME, ${hex NAME} all of it, TIME is
//		any time and DAY any date. Two spaces between columns are as good as more.
//	flip DIR DIGEST
//		changes one bit of each file below the directory whose name is the digest.
//	age DAYS FILE…
//		makes files, and directories with their content, that old; in source.json, too.
//	hold FILE, release
//		creates and locks a file, as a running osbuild locks its store's cache.lock.
//	stalled DIGEST
//		serves the registry again as $STALLED, where the connection hangs after 1000 bytes of
//		that blob.
//	everyschema FILE
//		fails unless the file, which $SEEN named when the tool ran, has all schemas.
//	interrupt SIGNAL N DIGEST PROGRAM [ARGUMENT]…
//		runs a program, sends it a signal when a cache contains more of the blob than before, and
//		requires that exit status, -1 for a killed program. Its output is in interrupted.out
//		and interrupted.err.
func TestScripts(t *testing.T) {
	reg := registry.Start(t)
	schemas, err := filepath.Abs("../../schemas/output")
	self, why := os.Executable()
	if err = errors.Join(err, why); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, ".home")
			defaultCache := rootCache
			if userns.Restricted() {
				defaultCache = filepath.Join(home, ".cache/osbuild/sources")
			}
			env.Vars = append(env.Vars,
				"HOME="+home, "XDG_RUNTIME_DIR="+filepath.Join(home, "run"), "DEFAULT_CACHE="+defaultCache, "SCHEMAS="+schemas, "SELF="+self,
				"REG="+reg.Addr, "NAME="+reg.Addr+"/"+strings.ReplaceAll(filepath.Base(env.WorkDir), "script-", ""),
				"CONTAINERS_REGISTRIES_CONF="+filepath.Join(home, ".config/containers/registries.conf"))
			config := filepath.Join(home, ".config", "containers")
			if err := errors.Join(os.MkdirAll(config, 0o755), os.Mkdir(filepath.Join(home, "run"), 0o700)); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(config, "registries.conf"), []byte("[[registry]]\nlocation = \""+reg.Addr+"\"\ninsecure = true\n"), 0o644); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(config, "policy.json"), []byte(`{"default": [{"type": "insecureAcceptAnything"}]}`), 0o644)
		},
		Condition: func(cond string) (bool, error) { // what testscript does not know
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "cache": // the default one is the machine's, and exists
				_, err := os.Stat(rootCache)
				return err == nil && !userns.Restricted(), nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"image":  func(ts *testscript.TestScript, _ bool, args []string) { pushImage(ts, reg, args) },
			"delete": func(ts *testscript.TestScript, _ bool, args []string) { deleteManifest(ts, reg, args) },
			"expand": expand,
			"status": status,
			"golden": golden,
			"flip":   flip,
			"age":    age,
			"hold":   hold,

			"release": release,

			"unchanged": unchanged,

			"everyschema": everySchema,

			"stalled":   func(ts *testscript.TestScript, _ bool, args []string) { stalled(t, ts, reg, args) },
			"interrupt": interrupt,
		},
	})
}

// TestScriptsAsOrdinaryUser runs scripts of all commands again as an ordinary user if the tests run as root.
func TestScriptsAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("TestScripts is that")
	}
	if st, err := os.Stat("."); err != nil || st.Mode()&0o005 != 0o005 {
		t.Skipf("no other user can read this directory: %v", err)
	}
	top, err := os.MkdirTemp("", "u")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(top)
	program := filepath.Join(top, "test") // executable by other users
	if err := errors.Join(os.Chmod(top, 0o777), copyFile("/proc/self/exe", program), os.Chmod(program, 0o755)); err != nil {
		t.Fatal(err)
	}
	again := exec.Command(program, "-test.run=^TestScripts$/^(caches|pin|fetch|list|verify|gc|bundle_have|mirror|unwritable)$")
	again.Env = append(os.Environ(), "TMPDIR="+top, "GOTMPDIR=")
	again.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4711, Gid: 4712}}
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// pushImage implements the command image.
func pushImage(ts *testscript.TestScript, reg *registry.Registry, args []string) {
	var names, arches []string
	var opts []images.Option
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "layer":
			size, err := strconv.ParseInt(value, 10, 64)
			ts.Check(err)
			opts = append(opts, images.Layer(size))
		case "seed":
			n, err := strconv.ParseUint(value, 10, 64)
			ts.Check(err)
			opts = append(opts, images.Seed(n))
		case "arch":
			arches = append(arches, value)
		case "base":
			name, digest, _ := strings.Cut(value, "@")
			opts = append(opts, images.Annotation("org.opencontainers.image.base.name", name),
				images.Annotation("org.opencontainers.image.base.digest", digest))
		case "docker":
			opts = append(opts, images.Docker())
		default:
			names = append(names, arg)
		}
	}
	made := make([]*images.Image, 0, len(arches))
	for _, arch := range arches {
		name, variant, _ := strings.Cut(arch, "/")
		o := append([]images.Option{images.Arch(name)}, opts...)
		if variant != "" {
			o = append(o, images.Variant(variant))
		}
		img := images.New(o...)
		ts.Setenv("ID_"+name, img.ID.String())
		ts.Setenv("DIGEST_"+name, img.Digest.String())
		made = append(made, img)
	}
	var what images.Entry
	switch len(made) {
	case 0:
		img := images.New(opts...)
		ts.Setenv("ID", img.ID.String())
		ts.Setenv("DIGEST", img.Digest.String())
		what = img
	case 1:
		ts.Setenv("ID", made[0].ID.String())
		ts.Setenv("DIGEST", made[0].Digest.String())
		what = made[0]
	default:
		list := images.NewList(images.Of(entries(made)...))
		ts.Setenv("DIGEST", list.Digest.String())
		what = list
	}
	if img, ok := what.(*images.Image); ok {
		made = append(made, img)
	}
	for n, l := range made[len(made)-1].Layers {
		ts.Setenv(fmt.Sprintf("LAYER_%d", n+1), l.Digest.String())
		ts.Setenv(fmt.Sprintf("SIZE_%d", n+1), strconv.FormatInt(l.Size, 10))
	}
	for _, name := range names {
		ts.Check(images.Push(what, reg.URL, strings.TrimPrefix(name, reg.Addr+"/")))
	}
}

func entries(made []*images.Image) []images.Entry {
	all := make([]images.Entry, len(made))
	for i, img := range made {
		all[i] = img
	}
	return all
}

// deleteManifest implements the command delete.
func deleteManifest(ts *testscript.TestScript, reg *registry.Registry, args []string) {
	for _, arg := range args {
		name, digest, _ := strings.Cut(strings.TrimPrefix(arg, reg.Addr+"/"), "@")
		req, err := http.NewRequest(http.MethodDelete, fmt.Sprintf("%s/v2/%s/manifests/%s", reg.URL, name, digest), nil)
		ts.Check(err)
		res, err := http.DefaultClient.Do(req)
		ts.Check(err)
		res.Body.Close()
		if res.StatusCode != http.StatusAccepted {
			ts.Fatalf("delete %s: %s", arg, res.Status)
		}
	}
}

// variable returns the replacement for a variable in a golden file.
func variable(ts *testscript.TestScript) func(string) string {
	return func(name string) string {
		if long, whole := strings.CutPrefix(name, "hex "); whole {
			return strings.TrimPrefix(ts.Getenv(long), "sha256:")
		}
		long, short := strings.CutPrefix(name, "short ")
		if !short {
			return ts.Getenv(name)
		}
		_, hex, _ := strings.Cut(ts.Getenv(long), ":")
		return hex[:min(len(hex), 12)]
	}
}

// expand implements the command expand.
func expand(ts *testscript.TestScript, _ bool, args []string) {
	for _, file := range args {
		text := os.Expand(ts.ReadFile(file), variable(ts))
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o644))
	}
}

// status implements the command status.
func status(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("status %d, want %d", got, want)
	}
}

// aTime, aDay and aGap match what differs between runs: how far apart columns are depends on how long $NAME is.
var (
	aGap  = regexp.MustCompile(`(\S)  +`)
	aTime = regexp.MustCompile(`\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?Z| \d\d:\d\d:\d\d UTC)`)
	aDay  = regexp.MustCompile(`\b20\d\d-\d\d-\d\d\b`)
)

// golden implements the command golden.
func golden(ts *testscript.TestScript, _ bool, args []string) {
	got := ts.ReadFile(append(args, "stdout")[1])
	got = aDay.ReplaceAllString(aTime.ReplaceAllString(got, "TIME"), "DAY")
	got = aGap.ReplaceAllString(got, "$1  ")
	want := aGap.ReplaceAllString(os.Expand(ts.ReadFile(args[0]), variable(ts)), "$1  ")
	if got == want {
		return
	}
	ts.Logf("got:\n%s\nwant:\n%s", got, want)
	ts.Fatalf("the output is not what %s says", args[0])
}
