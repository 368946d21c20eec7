package inject

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/rogpeppe/go-internal/txtar"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/request"
)

var update = flag.Bool("update", false, "rewrite what the cases want")

// short is how digests are written in the cases: @a1 is sha256: and 32 times a1.
var short = regexp.MustCompile(`@[0-9a-f]{2}\b`)

func long(s string) string {
	return short.ReplaceAllStringFunc(s, func(d string) string { return "sha256:" + strings.Repeat(d[1:], 32) })
}

func shorten(s string) string {
	return regexp.MustCompile(`sha256:[0-9a-f]{64}`).ReplaceAllStringFunc(s, func(d string) string {
		if c := "@" + d[7:9]; long(c) == d {
			return c
		}
		return d
	})
}

// readPins reads lines such as
//
//	my.test/a/b:1 linux/amd64 id=@a1 manifest=@b1 list=@c1
func readPins(t testing.TB, lines string) (pins []pin.Image) {
	t.Helper()
	for line := range strings.Lines(long(lines)) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		p := pin.Image{Reference: words[0], Platform: words[1]}
		if rest, ok := strings.CutPrefix(p.Reference, "containers-storage:"); ok {
			p.Reference, p.Transport = rest, request.ContainersStorage
		}
		for _, word := range words[2:] {
			key, value, _ := strings.Cut(word, "=")
			switch key {
			case "id":
				p.ID = digest.Digest(value)
			case "manifest":
				p.Manifest = digest.Digest(value)
			case "list":
				p.List = digest.Digest(value)
			case "store":
				p.StorageLocation = value
			default:
				t.Fatalf("pins: what is %s?", word)
			}
		}
		pins = append(pins, p)
	}
	return pins
}

func options(pins []pin.Image) Options {
	return Options{Pins: pins, Parse: func(text string) (pin.Reference, error) {
		return pin.ParseReference(request.Access{}, text)
	}}
}

// TestCases compares whole files, byte by byte: what is not pinned is as it was. Each case has
// pins, a manifest, and what becomes of it or which error is shown. What becomes of it is given to
// Apply again, which must change nothing.
func TestCases(t *testing.T) {
	t.Setenv("CONTAINERS_REGISTRIES_CONF", os.DevNull)
	files, err := filepath.Glob("testdata/cases/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d cases, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			part := map[string]string{}
			for _, f := range archive.Files {
				part[f.Name] = string(f.Data)
			}
			opts := options(readPins(t, part["pins"]))
			opts.Insecure = strings.Contains(string(archive.Comment), "insecure\n")
			var got, wrong string
			result, err := Apply([]byte(long(part["manifest"])), opts)
			if err != nil {
				wrong = shorten(hint.Text(err, hint.Flags)) + "\n"
			} else {
				got = shorten(string(result.Data))
			}
			want := part["want"]
			if want == "" && part["error"] == "" {
				want = part["manifest"]
			}
			if *update && (got != want || wrong != part["error"]) {
				rewrite(t, file, archive, got, wrong)
				return
			}
			if wrong != part["error"] {
				t.Fatalf("got the error\n%s\nwant\n%s", wrong, part["error"])
			}
			if err != nil {
				return
			}
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if result.Changed != (got != part["manifest"]) {
				t.Errorf("changed is %t", result.Changed)
			}
			again, err := Apply(result.Data, opts)
			if err != nil {
				t.Fatalf("the result is refused: %v", err)
			}
			if again.Changed {
				t.Errorf("a second run makes it\n%s", shorten(string(again.Data)))
			}
			checkFragments(t, result, part["fragments"])
		})
	}
}

// checkFragments compares the fragments of a result, where the case has some.
func checkFragments(t *testing.T, result *Result, want string) {
	t.Helper()
	got, err := result.Fragments()
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(got) {
		t.Errorf("fragments are not JSON: %s", got)
	}
	if want != "" && shorten(string(got)) != want {
		t.Errorf("got the fragments\n%s\nwant\n%s", shorten(string(got)), want)
	}
}

func rewrite(t *testing.T, file string, archive *txtar.Archive, got, wrong string) {
	t.Helper()
	files := archive.Files[:0]
	for _, f := range archive.Files {
		if f.Name != "want" && f.Name != "error" {
			files = append(files, f)
		}
	}
	name := "want"
	if wrong != "" {
		name = "error"
	}
	archive.Files = append(files, txtar.File{Name: name, Data: []byte(cmp.Or(got, wrong))})
	if err := os.WriteFile(file, bytes.TrimRight(txtar.Format(archive), "\x00"), 0o644); err != nil {
		t.Fatal(err)
	}
}
