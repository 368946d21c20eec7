package cli

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/gc"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/verify"
)

// What verify and gc say fits 80 columns, too.
func TestCareFits(t *testing.T) {
	i := worst()
	damage := verify.Damage{Image: i.ID, Title: i.Title(), What: verify.PartManifest, Digest: i.ID, Got: strings.Repeat("a\tb\x1b ", 30)}
	all := &verify.Repaired{
		Mended: []verify.Damage{damage, {Title: strings.Repeat("x", 200), What: verify.PartSignature, Got: i.ID.String()}},
		Left:   []verify.Left{{Damage: damage, Why: hint.Add(errors.New(strings.Repeat("why ", 50)), "the hint")}},
	}
	done := &gc.Collected{
		Plan: &gc.Plan{
			Images: []gc.Removal{{Image: i, Frees: 999_900_000}, {Image: i, Why: strings.Repeat("why ", 50)}}, Lists: []cache.Stored{{}},
			Unused: []cache.Stored{{Size: 1}}, Partial: []cache.Stored{{Size: 1}}, Total: 999_900_000, Over: 1, Missing: []digest.Digest{i.ID},
		},
		Freed: 999_900_000, Busy: []string{strings.Repeat("busy ", 30)},
	}
	for name, text := range map[string]string{
		"verify": verifyText(&verify.Verified{Images: 1, Unvouched: []digest.Digest{i.ID}, Replaced: 2}, all),
		"gc":     gcText(done, true, "gc"),
	} {
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			if n := utf8.RuneCountInString(line); n > width {
				t.Errorf("%s: %d columns: %s", name, n, line)
			}
			if strings.ContainsAny(line, "\x1b\r\t") || strings.HasSuffix(line, " ") {
				t.Errorf("%s: %q", name, line)
			}
		}
	}
}

// What could not be read is not among what is well.
func TestVerifySaysWhatItDidNotRead(t *testing.T) {
	v := &verify.Verified{Images: 1, Replaced: 2}
	text := strings.Join(strings.Fields(verifyText(v, &verify.Repaired{})), " ")
	if want := "replaced each time while it was read, and so not verified: 2 images all is well: 1 image,"; !strings.Contains(text, want) {
		t.Errorf("got %s\nwant %s", text, want)
	}
	if got := verifyAnswer("", v, &verify.Repaired{}); got.Images != 1 || got.Replaced != 2 {
		t.Errorf("got %+v", got)
	}
}
