package crash_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"osbuild-containers/test/images"
)

func TestAnyCachePathWorks(t *testing.T) {
	img := images.New(images.Layer(1000))
	list := images.NewList(images.Of(img))
	_, name := serve(t, list)
	for i, dir := range []string{
		"with space", "a:b::c", `quo"te's`, "ünï→cödé", "-dash", "new\nline", "a+b]c[d@e,f", "%20", ".hidden", "$HOME", "back\\slash", "deep/er/than/it/was",
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			cache := filepath.Join(t.TempDir(), dir)
			fetch(t, skopeo, request(cache, name, img))
			fetch(t, index, listRequest(cache, name, list))
			for source, req := range map[string]object{skopeo: request(cache, name, img), index: listRequest(cache, name, list)} {
				if !fetch(t, source, req).Results[0].Metadata.Cached {
					t.Errorf("%s does not find it again", source)
				}
			}
			must(t, checkImage(cache, img))
			must(t, wantFile(filepath.Join(cache, files, list.Digest.String()), list.Digest))
		})
	}
}

func TestBadCachePathIsRefused(t *testing.T) {
	img := images.New(images.Layer(1000))
	f, name := serve(t, img)
	for _, cache := range []string{"", "relative", "./relative", "../relative", "relative/path"} {
		t.Run(fmt.Sprintf("%q", cache), func(t *testing.T) {
			r := prepare(t, skopeo, request(cache, name, img))
			r.cmd.Dir = t.TempDir()
			must(t, r.cmd.Start())
			status, rep := r.wait()
			if status != 2 || rep.Success || rep.Error == "" {
				t.Errorf("exit status %d, reply %+v", status, rep)
			}
			wantText(t, rep.Error, "cache")
			if left, _ := os.ReadDir(r.cmd.Dir); len(left) > 0 {
				t.Errorf("it made %v", left)
			}
		})
	}
	if len(f.Requests()) > 0 {
		t.Error("the registry was asked")
	}
}

func TestCacheIsNotADirectory(t *testing.T) {
	img := images.New(images.Layer(1000))
	_, name := serve(t, img)
	cache := newCache(t)
	must(t, os.WriteFile(cache, []byte("mine"), 0o644))
	wantText(t, start(t, skopeo, request(cache, name, img)).failed(), cache, "not a directory")
	if got, _ := os.ReadFile(cache); string(got) != "mine" {
		t.Errorf("the file is %q now", got)
	}
}

// With a private umask, fetched files are readable by their owner only.
func TestUmaskIsRespected(t *testing.T) {
	img := images.New(images.Layer(1000))
	list := images.NewList(images.Of(img))
	_, name := serve(t, list)
	cache := filepath.Join(t.TempDir(), "a", "cache")
	for source, req := range map[string]object{skopeo: request(cache, name, img), index: listRequest(cache, name, list)} {
		r := prepare(t, source, req)
		sh := exec.CommandContext(t.Context(), "/bin/sh", "-c", `umask 077; exec "$0"`, r.cmd.Path)
		sh.Env, sh.Stdin, sh.Stdout, sh.Stderr = r.cmd.Env, r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr
		r.cmd = sh
		must(t, r.cmd.Start())
		r.good()
	}
	must(t, filepath.WalkDir(filepath.Dir(cache), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if fi.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, fi.Mode().Perm(), want)
		}
		return nil
	}))
}
