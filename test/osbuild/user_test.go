package osbuild

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// ordinary is a user with subordinate ids.
type ordinary struct {
	name           string
	uid, gid       uint32
	subuid, subgid uint32 // the first of them
}

// findUser returns a user of this machine for whom osbuild can make a namespace, or skips the test.
func findUser(t *testing.T) ordinary {
	t.Helper()
	uids, gids := subordinate("/etc/subuid"), subordinate("/etc/subgid")
	for _, name := range slices.Sorted(maps.Keys(uids)) {
		u, err := user.Lookup(name)
		if err != nil || gids[name] == 0 {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if uidErr == nil && gidErr == nil && uid != 0 {
			return ordinary{name, uint32(uid), uint32(gid), uids[name], gids[name]}
		}
	}
	t.Skip("no user has subordinate ids: useradd gives them")
	return ordinary{}
}

// subordinate returns the first ids of the ranges in a file such as /etc/subuid, of those large enough, by user.
func subordinate(path string) map[string]uint32 {
	first := map[string]uint32{}
	data, err := os.ReadFile(path)
	if err != nil {
		return first
	}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		f := strings.Split(lines.Text(), ":")
		if len(f) != 3 || first[f[0]] != 0 {
			continue
		}
		start, startErr := strconv.ParseUint(f[1], 10, 32)
		count, countErr := strconv.ParseUint(f[2], 10, 32)
		if startErr == nil && countErr == nil && count >= 65536 {
			first[f[0]] = uint32(start)
		}
	}
	return first
}

// inside returns the id that a user has in the namespace in which it has this one outside.
func inside(id, own, first uint32) uint32 {
	if id == own {
		return 0
	}
	return id - first + 1
}

// entries returns what a tree has, by path, with the owners that id returns for those on disk.
func entries(t *testing.T, tree string, id func(*syscall.Stat_t) string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		content := fmt.Sprint(st.Rdev)
		switch info.Mode().Type() {
		case 0:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = digest.FromBytes(data).String()
		case fs.ModeSymlink:
			if content, err = os.Readlink(path); err != nil {
				return err
			}
		}
		all[strings.TrimPrefix(path, tree)] = fmt.Sprint(info.Mode(), " ", id(st), " ", info.ModTime().UTC(), " ", content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestOrdinaryUserBuildsRootsTree runs the same manifest as root and as an ordinary user, with all stages: a tree, its archive,
// a storage with that image, and the tree again. All of it is the same, seen from inside the namespace that osbuild makes.
func TestOrdinaryUserBuildsRootsTree(t *testing.T) {
	h := newHost(t)
	if os.Getuid() != 0 {
		t.Skip("only root can build as root and as another user")
	}
	if _, err := exec.LookPath("newuidmap"); err != nil {
		t.Skip("osbuild needs newuidmap (package uidmap) to build for an ordinary user")
	}
	u := findUser(t)
	const python = "/usr/bin/python3" // that of root may be where others cannot read
	rights := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: u.uid, Gid: u.gid}}
	check := exec.CommandContext(t.Context(), python, "-c", "import osbuild.main_cli; from osbuild.util.linux import IdMaps")
	check.Env, check.Dir, check.SysProcAttr = h.env(), "/", rights
	if out, err := check.CombinedOutput(); err != nil {
		t.Skipf("this osbuild does not run for an ordinary user: %v\n%s", err, out)
	}
	reg := registry.Start(t)
	img := images.New(
		images.Files(
			images.File{Name: "bin/"}, images.File{Name: "bin/su", Mode: 0o4755, Data: []byte("su")}, images.File{Name: "gone"}, images.File{Name: "link", Link: "bin/su"},
			images.File{Name: "home/", UID: 1000, GID: 1000}, images.File{Name: "home/f", UID: 1000, GID: 65000, Mode: 0o640}, images.File{Name: "tmp/", Mode: 0o1777},
		),
		images.Files(images.File{Name: ".wh.gone"}, images.File{Name: "implied/f", UID: 65536, GID: 1}), images.Layer(20_000),
	)
	img.Push(t, reg.URL, "a/b")
	m := manifest(object{"org.osbuild.skopeo": items(object{img.ID.String(): pinned(reg.Addr+"/a/b", img)})})
	of := func(name string, stage object) object {
		return object{"name": name, "source-epoch": 1700000000, "stages": []object{stage}}
	}
	made := object{"images": object{
		"type": "org.osbuild.containers", "origin": "org.osbuild.pipeline", "references": object{"name:archive": object{"name": "localhost/made:v1"}},
	}}
	m["pipelines"] = []object{
		of("tree", object{"type": "org.osbuild.container-deploy", "inputs": inputs(nil, img.ID.String())}),
		of("archive", object{
			"type":    "org.osbuild.oci-archive",
			"inputs":  object{"base": object{"type": "org.osbuild.tree", "origin": "org.osbuild.pipeline", "references": []string{"name:tree"}}},
			"options": object{"architecture": "amd64", "filename": "container.tar"},
		}),
		of("store", object{"type": "org.osbuild.skopeo", "inputs": made, "options": object{"destination": object{"type": "containers-storage", "storage-driver": "vfs"}}}),
		of("again", object{"type": "org.osbuild.container-deploy", "inputs": made}),
	}
	names := []string{"tree", "archive", "store", "again"}
	if r := h.build(t, m, names...); !r.Success {
		t.Fatal(r.text)
	}

	theirs := *h
	top, err := os.MkdirTemp("", "user") // short, for the names of sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(top); err != nil {
			t.Error(err)
		}
	})
	theirs.store, theirs.output = filepath.Join(top, "store"), filepath.Join(top, "output")
	for _, dir := range []string{top, theirs.store, theirs.output} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, int(u.uid), int(u.gid)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := theirs.command(t, m, names...)
	for _, dir := range []string{h.libdir, filepath.Dir(h.libdir), filepath.Dir(cmd.Args[len(cmd.Args)-1]), h.output} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Env = append(cmd.Env, "HOME="+top, "USER="+u.name, "XDG_RUNTIME_DIR="+top, "XDG_CONFIG_HOME=", "XDG_CACHE_HOME=", "XDG_DATA_HOME=")
	cmd.Dir = top
	cmd.Path, cmd.Args[0], cmd.SysProcAttr = python, python, rights
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("as %s: %v\n%s", u.name, err, out)
	}
	want := entries(t, h.output, func(st *syscall.Stat_t) string { return fmt.Sprint(st.Uid, ":", st.Gid) })
	got := entries(t, theirs.output, func(st *syscall.Stat_t) string {
		return fmt.Sprint(inside(st.Uid, u.uid, u.subuid), ":", inside(st.Gid, u.gid, u.subgid))
	})
	delete(want, "") // of this test
	delete(got, "")
	for _, name := range []string{"/archive/container.tar", "/again/bin/su", "/again/implied/f"} {
		if want[name] == "" {
			t.Errorf("root has no %s", name)
		}
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: the user has %q, root %q", name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("the user has %d paths, root %d", len(got), len(want))
	}
}
