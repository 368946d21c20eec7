package cli

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/bundle"
	"osbuild-containers/internal/manifest"
)

// TestBundlesOfStrangersFit has what images and bundles say of themselves, which may be anything.
func TestBundlesOfStrangersFit(t *testing.T) {
	long := strings.Repeat("\x1b[31m", 40)
	names := []string{"example.com/" + strings.Repeat("é", 200)}
	var out bytes.Buffer
	a := &app{env: Env{Stdout: &out}}
	id := digest.FromString("x")
	exported := &bundle.Bundle{Images: []bundle.Exported{
		{ID: id, Platform: manifest.Platform{OS: "linux", Architecture: long, Variant: long}, Names: names},
		{ID: id, Platform: manifest.Platform{OS: "linux", Architecture: "amd64"}},
	}}
	if err := a.showExported(bundle.Output{Path: long}, exported, false); err != nil {
		t.Error(err)
	}
	imported := &bundle.Imported{Results: []bundle.Result{
		{Kind: "image", State: bundle.Failed, Manifest: digest.Digest(long)},
		{Kind: "image", State: bundle.Failed, Manifest: digest.Digest("x:" + long), Names: names},
		{Kind: "image", State: bundle.Added, Manifest: id, ID: id, Names: names},
	}}
	if err := a.showImported(imported, false); err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSuffix(line, "\n")
		if n := utf8.RuneCountInString(line); n > width || strings.Contains(line, "\x1b") {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 9 {
		t.Errorf("%d lines:\n%s", n, &out)
	}
}
