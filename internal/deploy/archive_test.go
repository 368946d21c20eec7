package deploy_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"osbuild-containers/internal/deploy"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/unpack"
)

// archived is the archive of an image.
func archived(t *testing.T, c deploy.Case) []byte {
	t.Helper()
	var b bytes.Buffer
	i := &unpack.Image{Name: "image", Layers: c.Layers}
	if err := i.Tar(t.Context(), &b, c.Options, progress.NewLog(io.Discard)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The archive of an image has the tree that its layers have: as a layer, it is deployed to the same.
func TestTheArchiveHasTheSameTree(t *testing.T) {
	for name, c := range deploy.Cases(t) {
		t.Run(name, func(t *testing.T) {
			raw := archived(t, c)
			want, got := deploy.Tree(t, c.Options, c.Layers...), deploy.Tree(t, deploy.Options{}, deploy.LayerOf(raw))
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if again := archived(t, c); !bytes.Equal(again, raw) {
				t.Error("the archive is another one when it is written again")
			}
		})
	}
}

// GNU tar makes the same tree of it, the times of directories with symbolic links included.
func TestGNUTarExtractsTheSameTree(t *testing.T) {
	tar, err := exec.LookPath("tar")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("needs tar, and root, who can give files to others")
	}
	c := deploy.Case{Layers: deploy.Mixed(t), Options: deploy.Options{Epoch: time.Unix(5, 0)}}
	dir := t.TempDir()
	cmd := exec.Command(tar, "--xattrs", "--xattrs-include=*", "-xpf", "-", "-C", dir)
	cmd.Stdin = bytes.NewReader(archived(t, c))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got, want := deploy.TreeIn(t, dir), deploy.Tree(t, c.Options, c.Layers...); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if out, err := exec.Command("find", filepath.Join(dir, "holes"), "-size", "+100k", "-printf", "%S").Output(); err == nil && string(out) >= "0.5" {
		t.Errorf("holes takes %s of its size", out)
	}
}
