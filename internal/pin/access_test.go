package pin

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestChallengeOfTheRepository resolves and checks pins with credentials that only the repository asks for.
func TestChallengeOfTheRepository(t *testing.T) {
	for kind, auth := range map[string]registry.Option{
		"basic": registry.Basic("ann", "s3cret"), "token": registry.Token("ann", "s3cret", time.Minute),
	} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, auth)
			w.On(registry.Get("^/v2/$"), registry.Status(200, "{}"))
			file := filepath.Join(t.TempDir(), "auth.json")
			login := base64.StdEncoding.EncodeToString([]byte("ann:s3cret"))
			if err := os.WriteFile(file, fmt.Appendf(nil, `{"auths": {%q: {"auth": %q}}}`, w.Addr, login), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("REGISTRY_AUTH_FILE", file)
			img := arch("amd64")
			w.push("app:v1", images.NewList(images.Of(img)))
			pins := w.pin("registry.example/app:v1", "amd64")
			if len(pins) != 1 || pins[0].Manifest != img.Digest {
				t.Errorf("got %+v", pins)
			}
			all, err := w.Check(t.Context(), pins)
			if err != nil || all[0].State != OK {
				t.Errorf("got %+v, %v", all, err)
			}
		})
	}
}

// TestCheckOfASilentMirror checks a pin at the registry after its mirror stalls.
func TestCheckOfASilentMirror(t *testing.T) {
	w := newWorld(t)
	w.push("app:v1", arch("amd64"))
	pins := w.pin("registry.example/app:v1", "amd64")
	mirror := registry.NewFaults(t, nil)
	mirror.On(registry.Any(""), registry.Silence())
	w.conf(fmt.Sprintf("[[registry.mirror]]\nlocation = %q\ninsecure = true\n", mirror.Addr))
	w.Options.StallTimeout, w.Options.HeaderTimeout, w.Options.Retries = 2*time.Second, 2*time.Second, 0
	all, err := w.Check(t.Context(), pins)
	if err != nil || all[0].State != OK {
		t.Errorf("got %+v, %v", all, err)
	}
}
