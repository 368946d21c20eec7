package cli

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/fetch"
	"osbuild-containers/internal/manifest"
)

// worst is an image with fields as long as they can be, from an untrusted source.
func worst() *cacheinfo.Image {
	id := digest.FromString("x")
	return &cacheinfo.Image{
		ID: id, Manifest: id, List: id,
		Platform: manifest.Platform{OS: "windows\x1b[31m", Architecture: "ppc64le", Variant: "power8"},
		Created:  time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), Fetched: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC),
		Origins: []cache.Origin{{Name: "registry.example.com/" + strings.Repeat("a/", 100) + "é:" + strings.Repeat("9", 90), Digest: id, From: strings.Repeat("m", 200)}},
		Size:    999_900_000, Unshared: 999_900_000, Problem: strings.Repeat("it is broken ", 20),
	}
}

// What people read fits 80 columns and has nothing in it that a terminal could take for more than text.
func TestAnswersFit(t *testing.T) {
	i := worst()
	images := []*cacheinfo.Image{i}
	config := &cacheinfo.Config{Run: cacheinfo.Run{
		Cmd: []string{"sh", "-c", strings.Repeat("echo hello; ", 30)}, Env: []string{"A=" + strings.Repeat("b", 300)},
		Labels: map[string]string{"a": "line\nbreak\x1b[31m"},
	}}
	layer := cacheinfo.Layer{Blob: cacheinfo.Blob{Descriptor: manifest.Descriptor{Digest: i.ID, Size: 999_900_000}}}
	for n := range 7 {
		layer.Images = append(layer.Images, digest.FromString(strings.Repeat("y", n)))
	}
	detail := &cacheinfo.Detail{Image: i, MediaType: strings.Repeat("x", 200), Config: config, Layers: []cacheinfo.Layer{layer}}
	plan := &answer.FetchPlan{Items: []answer.PlannedItem{
		{Item: answer.Item{Kind: "image", ID: i.ID}, Reference: i.Origins[0].Name, From: strings.Repeat("m/", 100), Blobs: []answer.PlannedBlob{{Size: 999_900_000, Way: string(fetch.Download), Have: 1}}},
		{Item: answer.Item{Kind: "image", ID: i.ID}, Reference: "a", Error: strings.Repeat("why ", 50) + "\nthe hint"},
		{Item: answer.Item{Kind: "list", ID: i.ID}, Reference: "a", From: strings.Repeat("m/", 100)},
	}}
	for name, text := range map[string]string{
		"list":    listText(cacheinfo.Entries(images), width),
		"du":      usageText(&cacheinfo.Usage{Images: images, Size: 999_900_000_000, Disk: 999_900_000, Twice: 1, Unused: []cache.Stored{{Size: 1}}, Partial: []cache.Stored{{Size: 1}}}),
		"inspect": detailText(detail, images),
		"plan":    planText(plan),
	} {
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			if n := utf8.RuneCountInString(line); n > width {
				t.Errorf("%s: %d columns: %s", name, n, line)
			}
			if strings.ContainsAny(line, "\x1b\r") || strings.HasSuffix(line, " ") {
				t.Errorf("%s: %q", name, line)
			}
		}
		if !strings.HasSuffix(text, "\n") || len(text) < 80 {
			t.Errorf("%s: %q", name, text)
		}
	}
}

func TestField(t *testing.T) {
	for _, c := range []struct {
		values []string
		want   string
	}{
		{[]string{"one"}, "a    one\n"},
		{[]string{"one", "two"}, "a    one\n     two\n"},
		{[]string{""}, "a\n"},
		{[]string{strings.Repeat("x", 80)}, "a    " + strings.Repeat("x", 75) + "\n     xxxxx\n"},
		{[]string{strings.Repeat("word ", 16)}, "a    " + strings.TrimSpace(strings.Repeat("word ", 15)) + "\n     word\n"},
	} {
		if got := field("a", 5, c.values...); got != c.want {
			t.Errorf("%q: got %q, want %q", c.values, got, c.want)
		}
	}
}

func TestAlign(t *testing.T) {
	got := align([]column{{name: "A", most: 4}, {name: "SIZE", right: true}, {name: "B"}}, [][]string{{"é", "1 B", ""}, {"longer", "12.5 kB", "x\ty"}})
	want := "A        SIZE  B\né         1 B\nlon…  12.5 kB  x y"
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}
