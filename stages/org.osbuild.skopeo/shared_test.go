package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
)

// TestBlobsAreSharedWithTheInput has input and tree on one mount: nothing is copied.
func TestBlobsAreSharedWithTheInput(t *testing.T) {
	for kind, blobs := range map[string]string{toDir: "x", toOCI: "x/blobs/sha256"} {
		img := small(1)
		a := inputs.New(t)
		in := a.Dir(t, "localhost/x", img)
		a.Options = to(kind, "/x")
		code, log := call(t, a)
		linked, cloned := strings.Count(log, " linked, "), strings.Count(log, " cloned, ")
		if code != 0 || linked+cloned != len(img.Layers) {
			t.Errorf("%s: exit status %d, %d layers linked and %d cloned: %s", kind, code, linked, cloned, log)
		}
		for _, l := range img.Layers {
			one, err1 := os.Stat(filepath.Join(in, l.Digest.Encoded()))
			other, err2 := os.Stat(filepath.Join(a.Tree, blobs, l.Digest.Encoded()))
			if err1 != nil || err2 != nil || os.SameFile(one, other) != (linked > 0) {
				t.Errorf("%s: %s: linked, but another file: %v, %v", kind, l.Digest, err1, err2)
			}
		}
	}
}

// TestWhatIsSharedIsNeverWrittenTo copies over a folder whose files are the input's.
func TestWhatIsSharedIsNeverWrittenTo(t *testing.T) {
	for _, kind := range []string{toDir, toOCI} {
		one, two := small(1), small(1, images.Annotation("other", "manifest"))
		a := inputs.New(t)
		in := a.Dir(t, "localhost/x", one)
		a.Options = to(kind, "/x")
		succeed(t, a)
		before := listing(t, in)
		b := inputs.New(t)
		b.Archive(t, "localhost/x", two) // copied, to the same names
		b.Tree, b.Options = a.Tree, a.Options
		succeed(t, b)
		if got := listing(t, in); got != before {
			t.Errorf("%s: the input was\n%s\nand is\n%s", kind, before, got)
		}
	}
}

// TestALineForEachLayer has its place, its bytes and its seconds.
func TestALineForEachLayer(t *testing.T) {
	for kind, how := range map[string]string{toDir: " (linked|cloned)", toOCI: " (linked|cloned)", toArchive: " copied", toStorage: ""} {
		img := small(1)
		a := inputs.New(t)
		a.Dir(t, "localhost/x", img)
		a.Options = to(kind, "/x")
		code, log := call(t, a)
		for i, l := range img.Layers {
			want := fmt.Sprintf(`(?m)^image "localhost/x": layer %d/3 sha256:%s…: [0-9.]+ k?B%s, \d+\.\d s$`, i+1, l.Digest.Encoded()[:8], how)
			if code != 0 || !regexp.MustCompile(want).MatchString(log) {
				t.Errorf("%s: exit status %d, no line %s in\n%s", kind, code, want, log)
			}
		}
	}
}

// TestListsAreForStoragesOnly writes images that a list names as files: they are what
// they are without the list.
func TestListsAreForStoragesOnly(t *testing.T) {
	for _, kind := range []string{toDir, toOCI, toArchive} {
		var first string
		for _, with := range []bool{false, true} {
			img := small(1, images.Arch("riscv64"))
			a := inputs.New(t)
			a.Dir(t, "localhost/x", img)
			if with {
				a.List(t, images.NewList(images.Of(small(2), img)))
			}
			a.Options, a.Epoch = to(kind, "/x"), epoch
			succeed(t, a)
			got := regexp.MustCompile(` \d{4}-.* UTC`).ReplaceAllString(listing(t, a.Tree), "") // of what is linked
			if !with {
				first = got
			}
			if got != first {
				t.Errorf("%s: without a list\n%s\nand with one\n%s", kind, first, got)
			}
		}
	}
}
