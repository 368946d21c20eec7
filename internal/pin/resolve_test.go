package pin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/request"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
	"osbuild-containers/test/store"
)

// edit changes one entry of a list.
func edit(n int, change func(entry map[string]any)) images.Option {
	return images.Edit(func(m map[string]any) { change(m["manifests"].([]any)[n].(map[string]any)) })
}

func platformOf(os, arch string) func(map[string]any) {
	return func(e map[string]any) { e["platform"] = map[string]any{"os": os, "architecture": arch} }
}

func unsaid(e map[string]any) { delete(e, "platform") }

// TestPlatformsOfAList pairs architectures with images of a list.
func TestPlatformsOfAList(t *testing.T) {
	w := newWorld(t)
	made := map[string]*images.Image{}
	var entries []images.Entry
	for _, name := range []string{"amd64", "amd64/v3", "arm64/v8", "arm/v6", "arm/v7", "ppc64le", "s390x", "riscv64", "386"} {
		made[name] = arch(name)
		entries = append(entries, made[name])
	}
	list := images.NewList(entries)
	w.push("lists/all:v1", list)
	for asked, want := range map[string][2]string{
		"x86_64":      {"amd64", "linux/amd64"},
		"amd64":       {"amd64", "linux/amd64"},
		"amd64/v1":    {"amd64", "linux/amd64"},
		"amd64/v3":    {"amd64/v3", "linux/amd64/v3"},
		"aarch64":     {"arm64/v8", "linux/arm64"},
		"arm64":       {"arm64/v8", "linux/arm64"},
		"arm64/v8":    {"arm64/v8", "linux/arm64"},
		"armhfp":      {"arm/v7", "linux/arm/v7"},
		"armv7hl":     {"arm/v7", "linux/arm/v7"},
		"arm":         {"arm/v7", "linux/arm/v7"},
		"arm/v6":      {"arm/v6", "linux/arm/v6"},
		"ppc64le":     {"ppc64le", "linux/ppc64le"},
		"s390x":       {"s390x", "linux/s390x"},
		"riscv64":     {"riscv64", "linux/riscv64"},
		"linux/386":   {"386", "linux/386"},
		"linux/arm64": {"arm64/v8", "linux/arm64"},
	} {
		got := w.pin("registry.example/lists/all:v1", asked)[0]
		isPinned(t, &got, made[want[0]], list)
		if got.Platform != want[1] {
			t.Errorf("%s is kept as %s, want %s", asked, got.Platform, want[1])
		}
	}
	offers := "linux/386, linux/amd64, linux/amd64/v3, linux/arm/v6, linux/arm/v7, linux/arm64/v8, linux/ppc64le, linux/riscv64, linux/s390x"
	w.refuse("registry.example/lists/all:v1: has no image for linux/arm/v5; it has "+offers, "registry.example/lists/all:v1", "arm/v5")
	w.refuse("registry.example/lists/all:v1: has several images, so any is ambiguous; it has "+offers, "registry.example/lists/all:v1", "any")
	if len(w.notes) > 0 {
		t.Errorf("noted %q", w.notes)
	}
}

// TestDocumentsWithOtherNames has lists and configs with the architecture names of osbuild, rpm and the kernel: they select the same
// images, without a note.
func TestDocumentsWithOtherNames(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct{ asked, want string }{
		"x86_64": {"amd64", "linux/amd64"}, "aarch64": {"arm64", "linux/arm64"}, "armhfp": {"arm", "linux/arm/v7"},
		"i686": {"386", "linux/386"}, "ppc64el": {"ppc64le", "linux/ppc64le"}, "loongarch64": {"loong64", "linux/loong64"},
	} {
		img := images.New(images.Arch(name), images.Layer(100))
		list := images.NewList(images.Of(img, images.New(images.Arch("s390x"), images.Layer(200))))
		w.push("single/"+name+":v1", img)
		w.push("listed/"+name+":v1", list)
		w.push("unsaid/"+name+":v1", images.NewList(images.Of(img), edit(0, unsaid)))
		for _, ref := range []string{"single/", "listed/", "unsaid/"} {
			if got := w.pin("registry.example/"+ref+name+":v1", c.asked)[0]; got.ID != img.ID || got.Platform != c.want {
				t.Errorf("%s%s: got %s for %s, want %s", ref, name, got.ID, got.Platform, c.want)
			}
		}
	}
	if len(w.notes) > 0 {
		t.Errorf("noted %q", w.notes)
	}
}

// TestStrangeLists has unusual lists: repeated entries, entries for other systems, attestations, entries without a platform.
func TestStrangeLists(t *testing.T) {
	w := newWorld(t)
	amd, other, arm := arch("amd64"), arch("amd64", images.Seed(1)), arch("arm64")
	notes := images.New(images.Artifact("application/spdx+json"), images.Layer(10))
	attestation := images.New(images.Layer(10), images.Edit(func(m map[string]any) { // has the config of an image
		m["layers"].([]any)[0].(map[string]any)["mediaType"] = "application/vnd.in-toto+json"
	}))
	inner := images.NewList(images.Of(amd))
	var many []images.Entry
	var silent []images.Option
	for n := range maxUnspecified + 1 {
		many = append(many, arch("arm64", images.Seed(uint64(n))))
		silent = append(silent, edit(n, unsaid))
	}
	lists := map[string]*images.List{
		"twice":       images.NewList(images.Of(amd, amd, arm, arm)),
		"platforms":   images.NewList(images.Of(amd, other, arm)),
		"systems":     images.NewList(images.Of(other, amd, arm), edit(0, platformOf("windows", "amd64"))),
		"attested":    images.NewList(images.Of(notes, amd), edit(0, platformOf("unknown", "unknown"))),
		"said":        images.NewList(images.Of(attestation, amd), edit(0, platformOf("linux", "amd64"))),
		"attestation": images.NewList(images.Of(attestation), edit(0, platformOf("linux", "amd64"))),
		"unsaid":      images.NewList(images.Of(notes, arm, amd), edit(0, unsaid), edit(1, unsaid), edit(2, unsaid)),
		"one":         images.NewList(images.Of(arm)),
		"lies":        images.NewList(images.Of(arm), edit(0, platformOf("linux", "amd64"))),
		"nested":      images.NewList(images.Of(inner), edit(0, platformOf("linux", "amd64"))),
		"empty":       images.NewList(nil),
		"windows":     images.NewList(images.Of(amd), edit(0, platformOf("windows", "amd64"))),
		"many":        images.NewList(many, silent...),
		"unsaid-none": images.NewList(images.Of(arm), edit(0, unsaid)),
	}
	for name, list := range lists {
		w.push("lists/"+name+":v1", list)
	}
	for _, c := range []struct {
		list, arch string
		want       *images.Image
		note       string
	}{
		{"twice", "amd64", amd, ""},
		{"twice", "arm64", arm, ""},
		{"platforms", "amd64", amd, "the list has 2 images for linux/amd64; the first is taken, as other tools do: " + amd.Digest.String()},
		{"systems", "amd64", amd, ""},
		{"attested", "amd64", amd, ""},
		{"attested", "any", amd, ""},
		{"said", "amd64", amd, ""},
		{"said", "any", amd, ""},
		{"unsaid", "amd64", amd, ""},
		{"unsaid", "arm64", arm, ""},
		{"one", "any", arm, ""},
		{"lies", "amd64", arm, "the list says that " + arm.Digest.String() + " is for linux/amd64, its config says linux/arm64"},
	} {
		w.notes = nil
		got := w.pin("registry.example/lists/"+c.list+":v1", c.arch)[0]
		isPinned(t, &got, c.want, lists[c.list])
		note := ""
		if c.note != "" {
			note = "registry.example/lists/" + c.list + ":v1: " + c.note
		}
		if strings.Join(w.notes, "\n") != note {
			t.Errorf("%s: noted %q, want %q", c.list, w.notes, note)
		}
	}
	for name, want := range map[string]string{
		"nested":      inner.Digest.String() + " is a list within a list",
		"attestation": `manifest has no file system, its layers are of type "application/vnd.in-toto+json": not a container image`,
		"empty":       "has no image for linux/amd64; it has none with a platform",
		"windows":     "has no image for linux/amd64; it has windows/amd64",
		"many":        "has no image for linux/amd64; it has none with a platform, and 33 entries without a platform, too many to read",
		"unsaid-none": "has no image for linux/amd64; it has none with a platform",
	} {
		w.refuse("registry.example/lists/"+name+":v1: "+want, "registry.example/lists/"+name+":v1", "amd64")
	}
}

// TestImageWithoutAList checks that the platform is read from the config.
func TestImageWithoutAList(t *testing.T) {
	w := newWorld(t)
	arm, none := arch("arm64/v8"), images.New(images.ConfigBytes([]byte(`{"rootfs": {"type": "layers", "diff_ids": []}}`)))
	w.push("images/arm:v1", arm)
	w.push("images/none:v1", none)
	for _, asked := range []string{"aarch64", "any"} {
		got := w.pin("registry.example/images/arm:v1", asked)[0]
		isPinned(t, &got, arm, nil)
	}
	if got := w.pin("registry.example/images/none:v1", "any")[0]; got.ID != none.ID || got.Platform != "any" {
		t.Errorf("pinned %+v", got)
	}
	w.refuse("registry.example/images/arm:v1: is a single-platform image for linux/arm64/v8, want linux/amd64\n"+
		"use --arch arm64/v8, or --arch any if it runs all the same", "registry.example/images/arm:v1", "arm64", "x86_64")
	w.refuse("registry.example/images/none:v1: is a single-platform image without a platform in its config, want linux/amd64\n"+
		"use --arch any", "registry.example/images/none:v1", "amd64")
}

// TestTagAndDigest checks that the digest decides, for images and lists.
func TestTagAndDigest(t *testing.T) {
	w := newWorld(t)
	old := images.NewList(images.Of(arch("amd64"), arch("arm64")))
	w.push("images/name:v1", old)
	w.push("images/name:v1", arch("amd64", images.Seed(7)))
	arm := old.Entries[1].(*images.Image)
	for text, want := range map[string]string{
		"registry.example/images/name:v1@" + old.Digest.String(): "registry.example/images/name:v1",
		"registry.example/images/name@" + old.Digest.String():    "registry.example/images/name@" + old.Digest.String(),
	} {
		got := w.pin(text, "arm64")[0]
		isPinned(t, &got, arm, old)
		if got.Reference != want {
			t.Errorf("%s is kept as %s, want %s", text, got.Reference, want)
		}
	}
	got := w.pin("registry.example/images/name:v1@"+arm.Digest.String(), "arm64")[0]
	isPinned(t, &got, arm, nil)
}

// TestSchema1 checks that a schema 1 image is pinned by the digest of its signed part, with the id of its conversion, for which its
// layers are read, and that both are noted.
func TestSchema1(t *testing.T) {
	w := newWorld(t)
	old := images.Schema1("images/old", "v1", images.Layer(1000), images.Use(images.EmptyLayer), images.Arch("arm64"))
	w.On(registry.Any("/images/old/"), registry.Handle(old.Handler()))
	got := w.pin("registry.example/images/old:v1", "arm64")[0]
	if got.Manifest != old.Digest || got.ID != old.ID || !got.Schema1 || got.List != "" {
		t.Errorf("pinned %+v, want manifest %s, id %s", got, old.Digest, old.ID)
	}
	if len(got.Layers) != 1 || got.Layers[0] != (Layer{old.Layers[0].Digest, old.Layers[0].Size}) {
		t.Errorf("layers are %+v, want %s", got.Layers, old.Layers[0].Digest)
	}
	const says = "registry.example/images/old:v1: is of Docker's schema 1, which has no image id: its layers are read to compute it"
	if !slices.Contains(w.notes, says) {
		t.Errorf("noted %q, want %q", w.notes, says)
	}
	w.refuse("registry.example/images/old:v1: is a single-platform image for linux/arm64, want linux/amd64\nuse --arch arm64, or --arch any if it runs all the same",
		"registry.example/images/old:v1", "amd64")
	f := &File{Version: 1, Images: []Image{got}}
	if read, err := Parse(f.Encode()); err != nil || !read.Images[0].Schema1 {
		t.Errorf("read back %+v, error %v", read, err)
	}
	if all, err := w.Check(t.Context(), []Image{got}); err != nil || all[0].State != OK {
		t.Errorf("check says %+v, error %v", all, err)
	}
	w.Reset()
	w.On(registry.Any("/images/old/"), registry.Handle(old.Handler()))
	if all, err := w.Update(t.Context(), []Image{got}); err != nil || all[0].Changed || all[0].New.ID != old.ID {
		t.Errorf("update without a change says %+v, error %v", all, err)
	}
	if n := len(w.Matching(registry.Any("/blobs/"))); n != 0 {
		t.Errorf("update without a change made %d requests for layers", n)
	}
	next := images.Schema1("images/old", "v1", images.Layer(2000), images.Arch("arm64"))
	w.Reset()
	w.On(registry.Any("/images/old/"), registry.Handle(next.Handler()))
	if all, err := w.Update(t.Context(), []Image{got}); err != nil || !all[0].Changed || all[0].New.ID != next.ID {
		t.Errorf("update says %+v, error %v", all, err)
	}
}

// TestAllOrNothing checks that each failed reference is named, and each hint printed once.
func TestAllOrNothing(t *testing.T) {
	w := newWorld(t)
	w.push("images/good:v1", arch("amd64"))
	w.push("images/old:v1", arch("amd64"))
	w.On(registry.Get("/manifests/v3$"), registry.Error(http.StatusForbidden, "DENIED", "not for you"))
	schema1 := images.Schema1("images/old", "v1") // it has no layers
	w.On(registry.Manifest("v4"), registry.Handle(schema1.Handler()))
	w.On(registry.Get("/manifests/v5$"), registry.Status(http.StatusForbidden, "<html>a long page that is not the answer of a registry</html>"))
	got, err := w.Resolve(t.Context(), []Wanted{
		w.want("registry.example/images/good:v1", "amd64"), w.want("registry.example/images/good:v2", "amd64"),
		w.want("registry.example/images/good:v3", "amd64"), w.want("registry.example/images/good:v4", "amd64"),
		w.want("registry.example/images/good:v5", "amd64"),
	})
	want := `registry.example/images/good:v2: read manifest: manifest unknown
check the name and the tag, and whether the registry still has it
registry.example/images/good:v3: read manifest: 403 Forbidden: not for you (no credentials were sent: none are configured)
registry.example/images/good:v4: manifest has no layers in fsLayers
registry.example/images/good:v5: read manifest: 403 Forbidden: "<html>a long page that is not the answer of a regi..." (no credentials were sent: none are configured)
log in (podman login, REGISTRY_AUTH_FILE) or check that the account may read this repository`
	if err == nil || hint.Text(err, hint.Flags) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if got != nil {
		t.Errorf("pinned all the same: %+v", got)
	}
}

// TestDamage checks that nothing is pinned whose bytes do not match their digest.
func TestDamage(t *testing.T) {
	w := newWorld(t)
	amd := arch("amd64")
	list := images.NewList(images.Of(amd, arch("arm64")))
	w.push("images/name:v1", list)
	w.On(registry.Manifest(amd.Digest.String()), registry.Flip(50))
	if _, err := w.Resolve(t.Context(), []Wanted{w.want("registry.example/images/name:v1", "amd64")}); err == nil || !strings.Contains(err.Error(), "manifest has digest ") {
		t.Errorf("damaged manifest: %v", err)
	}
	w.Reset()
	w.On(registry.Blob(amd.ID.String()), registry.Flip(50))
	if _, err := w.Resolve(t.Context(), []Wanted{w.want("registry.example/images/name:v1", "amd64")}); err == nil || !strings.Contains(err.Error(), "config has digest ") {
		t.Errorf("damaged config: %v", err)
	}
}

// TestTriedAgain checks that a failing registry is retried and that retries are logged.
func TestTriedAgain(t *testing.T) {
	w := newWorld(t)
	amd := arch("amd64")
	w.push("images/name:v1", amd)
	w.On(registry.Manifest("v1").First(1), registry.Status(http.StatusServiceUnavailable, ""))
	got := w.pin("registry.example/images/name:v1", "amd64")[0]
	isPinned(t, &got, amd, nil)
	if len(w.notes) != 1 || !strings.HasPrefix(w.notes[0], "registry.example/images/name:v1: attempt 1 of ") {
		t.Errorf("noted %q", w.notes)
	}
}

// TestRequests checks that pinning sends one request for each document, and a ping.
func TestRequests(t *testing.T) {
	w := newWorld(t)
	w.push("images/name:v1", images.NewList(images.Of(arch("amd64"), arch("arm64"))))
	w.pin("registry.example/images/name:v1", "amd64", "arm64")
	var got []string
	for _, r := range w.Requests() {
		got = append(got, r.Method+" "+r.Path)
	}
	if len(got) != 6 {
		t.Errorf("%d requests, want a greeting, the list, two manifests and two configs:\n%s", len(got), strings.Join(got, "\n"))
	}
}

// TestMirrors checks that a pin records the mirror that served it.
func TestMirrors(t *testing.T) {
	w := newWorld(t)
	w.push("mirrored/name:v1", arch("amd64"))
	w.conf(fmt.Sprintf("[[registry]]\nlocation = \"origin.example\"\n[[registry.mirror]]\nlocation = \"%s/mirrored\"\ninsecure = true\n", w.Addr))
	if got := w.pin("origin.example/name:v1", "amd64")[0]; got.From != w.Addr+"/mirrored/name" {
		t.Errorf("from %q, want the mirror", got.From)
	}
}

// TestStored pins images in a containers storage.
func TestStored(t *testing.T) {
	w := newWorld(t)
	s := store.New(t, "vfs")
	arm := arch("arm64")
	s.Add(t, "localhost/name:v1", arm)
	text := "containers-storage:[vfs@" + s.Root + "]localhost/name:v1"
	got := w.pin(text, "aarch64")[0]
	isPinned(t, &got, arm, nil)
	if got.Transport != request.ContainersStorage || got.StorageLocation != s.Root || got.Reference != "localhost/name:v1" || got.From != "" {
		t.Errorf("pinned %+v", got)
	}
	w.refuse("localhost/name:v1: is a single-platform image for linux/arm64, want linux/amd64\n"+
		"use --arch arm64, or --arch any if it runs all the same", text, "amd64")
	w.refuse("localhost/none:v1: not in containers storage "+s.Root+"; see its images with podman images, or pull it there",
		"containers-storage:["+s.Root+"]localhost/none:v1", "arm64")

	status, err := w.Check(t.Context(), []Image{got})
	if err != nil || status[0].State != OK || status[0].From != s.Root {
		t.Errorf("check: %+v, %v", status, err)
	}
	s.Add(t, "localhost/name:v1", arch("arm64", images.Seed(3)))
	if status, err = w.Check(t.Context(), []Image{got}); err != nil || status[0].State != Moved {
		t.Errorf("check after another was tagged so: %+v, %v", status, err)
	}
}

// A panic is an error of its reference only.
func TestEachPanic(t *testing.T) {
	errs := (&Resolver{}).each(3, func(n int) error {
		if n == 1 {
			panic("oh")
		}
		return nil
	})
	if errs[0] != nil || errs[1] == nil || errs[2] != nil {
		t.Errorf("got %v", errs)
	}
}
