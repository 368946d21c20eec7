package fleet_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// Three builders, each with its own cache, share one registry. The images' registry is asked once for each blob, by the mirror and by
// no builder, and builds continue when it is down.
func TestBuildersShareOneRegistry(t *testing.T) {
	w := newWorld(t)
	base := images.New(images.Layer(400_000), images.Layer(50_000))
	list := images.NewList(images.Of(
		images.New(images.Use(base.Layers...), images.Seed(1), images.Layer(3000)),
		images.New(images.Use(base.Layers...), images.Arch("arm64"), images.Seed(2), images.Layer(4000)),
	))
	w.push("team/base:1", base)
	w.push("team/app:1", list)
	w.tool("pin", "registry.example/team/base:1", "registry.example/team/app:1", "--arch", "amd64")
	w.tool("pin", "registry.example/team/app:1", "--arch", "arm64")
	w.origin.Reset()

	conf := filepath.Join(w.dir, "mirror.conf")
	w.write(conf, w.tool(w.mirror()...))
	seen := map[string]int{}
	for _, r := range w.origin.Matching(registry.Get("/blobs/")) {
		_, digest, _ := strings.Cut(r.Path, "/blobs/")
		if seen[digest]++; seen[digest] > 1 {
			t.Errorf("the origin was asked for %s %d times", digest, seen[digest])
		}
	}
	if len(seen) != 7 { // four layers and three configs
		t.Errorf("the origin was asked for %d blobs, want 7", len(seen))
	}

	w.origin.Reset()
	var builders sync.WaitGroup
	for range 2 {
		builders.Go(func() { w.build(conf) })
	}
	builders.Wait()
	if n := len(w.origin.Requests()); n != 0 {
		t.Errorf("builders have asked the origin %d times, first for %s", n, w.origin.Requests()[0].Path)
	}

	w.origin.On(registry.Any(""), registry.Reset()) // it is down
	w.build(conf)
	if t.Failed() {
		t.Logf("mirror.conf:\n%s", read(t, conf))
	}
}

// build runs what osbuild requests from its sources for a build with an empty cache.
func (w *world) build(conf string) {
	cache := filepath.Join(w.t.TempDir(), "sources")
	for source, request := range w.requests(cache) {
		var out, log bytes.Buffer
		cmd := w.command(conf, filepath.Join("libdir", "sources", source))
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(request), &out, &log
		err := cmd.Run()
		var reply struct{ Success bool }
		if json.Unmarshal(out.Bytes(), &reply) != nil || err != nil || !reply.Success {
			w.t.Errorf("%s: %v\n%s\n%s", source, err, &out, &log)
		}
	}
}

// A killed mirror resumes when it is run again: blobs already sent are not sent again.
func TestKilledMirrorResumes(t *testing.T) {
	w := newWorld(t)
	w.push("big:1", images.New(images.Layers(12, 60_000)))
	w.tool("pin", "registry.example/big:1", "--arch", "any")
	cmd := w.command(w.conf, "osbuild-containers", w.mirror()...)
	w.to.On(registry.Method(http.MethodPatch, "").Nth(9), func(http.Handler) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { _ = cmd.Process.Kill() })
	})
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("it was not killed: %v", err)
	}
	if out.Len() > 0 {
		t.Errorf("it has said that all is well: %s", &out)
	}
	there := 0
	for _, r := range w.to.Matching(registry.Method(http.MethodPut, "/blobs/uploads/")) {
		if r.Status == http.StatusCreated {
			there++
		}
	}
	if n := len(w.to.Matching(registry.Method(http.MethodPut, "/manifests/"))); n > 0 || there == 0 {
		t.Fatalf("%d blobs and %d manifests are there, want some and none", there, n)
	}
	for n := -1; n != len(w.to.Requests()); time.Sleep(200 * time.Millisecond) { // what the killed process had sent may still come in
		n = len(w.to.Requests())
	}
	w.to.Reset()
	w.tool(w.mirror()...)
	// The registry may have completed an upload that the killed process did not hear of.
	if n := len(w.to.Matching(registry.Method(http.MethodPatch, ""))); n > 13-there || n == 0 {
		t.Errorf("%d blobs were there, %d were sent then, want at most %d", there, n, 13-there)
	}
}

// Other tools can read the mirror, and find the pinned digests.
func TestOtherToolsReadIt(t *testing.T) {
	w := newWorld(t)
	list := images.NewList(images.Of(images.New(images.Layer(3000)), images.New(images.Layer(4000), images.Arch("arm64"))))
	w.push("app:1", list)
	w.tool("pin", "registry.example/app:1", "--arch", "amd64")
	w.tool(append(w.mirror(), "--all")...)
	at := w.to.Addr + "/fleet/app"
	layout := t.TempDir()
	regctl := filepath.Join(t.TempDir(), "regctl.json")
	w.write(regctl, `{"hosts": {"`+w.to.Addr+`": {"tls": "disabled", "hostname": "`+w.to.Addr+`"}}}`)
	for _, c := range []struct {
		tool, line string
	}{
		{"skopeo", "skopeo copy --all --preserve-digests --src-tls-verify=false docker://AT:1 oci:LAYOUT/skopeo:1 && skopeo inspect --raw --tls-verify=false docker://AT@DIGEST"},
		{"crane", "crane pull --insecure --format=oci AT:1 LAYOUT/crane && crane manifest --insecure AT@DIGEST"},
		{"regctl", "REGCTL_CONFIG=" + regctl + " regctl image copy AT:1 ocidir://LAYOUT/regctl:1 && REGCTL_CONFIG=" + regctl + " regctl manifest get --format raw-body AT@DIGEST"},
		{"oras", "oras copy --no-tty --from-plain-http AT:1 --to-oci-layout LAYOUT/oras:1 && oras manifest fetch --plain-http AT@DIGEST"},
	} {
		t.Run(c.tool, func(t *testing.T) {
			if _, err := exec.LookPath(c.tool); err != nil {
				t.Skipf("%s is not installed", c.tool)
			}
			line := strings.NewReplacer("AT", at, "LAYOUT", layout, "DIGEST", list.Digest.String()).Replace(c.line)
			var log bytes.Buffer
			cmd := exec.Command("sh", "-c", line)
			cmd.Stderr = &log
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s: %v\n%s", line, err, &log)
			}
			if !bytes.HasSuffix(bytes.TrimSpace(out), bytes.TrimSpace(list.Raw)) {
				t.Errorf("the list is %s\nwant %s", out, list.Raw)
			}
		})
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
