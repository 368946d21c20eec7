package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestDebugShowsNoSecrets runs commands with --debug against registries that want a password or a token, and that
// redirect to a signed URL: what was asked and where credentials are from is shown, and none of the secrets.
func TestDebugShowsNoSecrets(t *testing.T) {
	t.Parallel()
	const user, password, key = "ann", "p4ss/w0rd+x", "s1gn4tur3"
	img := images.New(images.Layer(1000))
	basic := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	for name, auth := range map[string]registry.Option{
		"password": registry.Basic(user, password),
		"token":    registry.Token(user, password, time.Minute),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := registry.Start(t, auth)
			img.Push(t, reg.URL, "a/b:1", images.Via(reg.Client()))
			f, store := reg.Faults(t), registry.NewCatcher(t)
			layer := string(img.Layers[0].Digest)
			store.Serve(layer, img.Layers[0].Blob)
			f.On(registry.Blob(layer), registry.Status(307, "", "Location", "http://me:"+key+"@"+store.Addr+"/"+key+"/"+layer+"?X-Amz-Signature="+key+"#"+key))
			dir := t.TempDir()
			self, err := os.Executable()
			auths, e := json.Marshal(map[string]any{"auths": map[string]any{f.Addr: map[string]string{"auth": basic}}})
			if err := errors.Join(err, e, os.Symlink(self, filepath.Join(dir, "osbuild-containers")), os.WriteFile(filepath.Join(dir, "auth.json"), auths, 0o600)); err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				args string
				want []string
			}{
				{"fetch REG/a/b:1 --cache c --authfile auth.json --debug", []string{
					"msg=credentials for=" + f.Addr + `/a/b from="auths \"` + f.Addr + `\" in auth.json"`,
					"msg=answer method=GET url=http://" + f.Addr + "/v2/a/b/blobs/" + layer + " status=307 bytes=0 ",
					" location=http://" + store.Addr + "/…\n", "msg=answer method=GET url=http://" + store.Addr + "/… status=200 bytes=",
				}},
				{"unpack REG/a/b:1 root --cache d --creds " + user + ":" + password + " -v", []string{"from=--creds\n"}},
				{"pin REG/a/b:1 --pins pins.json --authfile auth.json --debug", []string{"msg=request method=GET url=http://" + f.Addr + "/v2/\n", "status=401"}},
				{"mirror REG/m --pins pins.json --all --cache e --authfile auth.json -v", []string{"msg=request method=POST url=http://" + f.Addr + "/v2/m/"}},
				{"fetch REG/a/b:1 --cache f --debug", []string{"msg=\"no credentials\" for=" + f.Addr + "/a/b because=", "status=401"}},
			} {
				cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "osbuild-containers"), strings.Fields(strings.ReplaceAll(c.args, "REG", f.Addr)+" --tls-verify=false")...)
				cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir, "XDG_RUNTIME_DIR=" + dir}
				raw, _ := cmd.CombinedOutput() // where it fails, it has to be as quiet about secrets
				out := string(raw)
				for _, want := range c.want {
					if !strings.Contains(out, want) {
						t.Errorf("%s: no %q in\n%s", c.args, want, out)
					}
				}
				secrets := []string{password, url.QueryEscape(password), basic, key}
				for _, r := range f.Requests() {
					_, token, _ := strings.Cut(r.Authorization, " ")
					secrets = append(secrets, token)
				}
				for _, secret := range secrets {
					if secret != "" && strings.Contains(out, secret) {
						t.Errorf("%s: %q is shown in\n%s", c.args, secret, out)
					}
				}
			}
		})
	}
}
