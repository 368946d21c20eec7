package schema1_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	imgmanifest "github.com/containers/image/v5/manifest"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/schema1"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/test/images"
)

// layersOf returns what the conversion of an image needs to know.
func layersOf(img *images.Image) map[digest.Digest]schema1.Layer {
	layers := map[digest.Digest]schema1.Layer{}
	for _, l := range img.Layers {
		layers[l.Digest] = schema1.Layer{DiffID: l.DiffID, Size: l.Size}
	}
	return layers
}

// TestConvert checks that the order of layers is reversed, that steps without files are dropped, and that the image ID is the one
// that skopeo 1.9.3 and 1.22.0 and podman 4.3.1 compute.
func TestConvert(t *testing.T) {
	img := images.Schema1("images/old", "v1", images.Layer(1000), images.Use(images.EmptyLayer), images.Layer(2000), images.Use(images.EmptyLayer))
	m, err := schema1.Parse(img.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if m.Digest != img.Digest {
		t.Errorf("digest is %s, want %s", m.Digest, img.Digest)
	}
	c, err := m.Convert(layersOf(img))
	if err != nil {
		t.Fatal(err)
	}
	const byPeers = "sha256:8669130da9cf7d281e967460dbf33cbb0ec571d6e4aa43cc30ad2c64534bbdaa"
	if c.ID != img.ID || c.ID != byPeers {
		t.Errorf("image id is %s, want %s, and %s as others have it", c.ID, img.ID, byPeers)
	}
	if len(c.Parsed.Layers) != 2 || c.Parsed.Layers[0].Digest != img.Layers[0].Digest || c.Parsed.Layers[1].Digest != img.Layers[2].Digest {
		t.Errorf("layers are %v", c.Parsed.Layers)
	}
	if err := schema1.Gives(img.Raw, c.Manifest, c.Config); err != nil {
		t.Error(err)
	}
	other := images.Schema1("images/old", "v2", images.Layer(1000), images.Layer(3000))
	if err := schema1.Gives(other.Raw, c.Manifest, c.Config); err == nil {
		t.Error("another manifest of schema 1 gives this image")
	}
}

// TestUnsigned checks that a manifest without signatures has the digest of the whole, and converts to the same image.
func TestUnsigned(t *testing.T) {
	img := images.Schema1("images/old", "v1", images.Layer(1000))
	signed, err := schema1.Parse(img.Raw)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := schema1.Parse(signed.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if bare.Digest != digest.FromBytes(signed.Payload) || bare.Digest != img.Digest {
		t.Errorf("digest is %s, want %s", bare.Digest, img.Digest)
	}
}

// TestHostile has a correctly signed manifest that breaks one rule, for each rule.
func TestHostile(t *testing.T) {
	id := func(n int) string { return fmt.Sprintf("%064x", n) }
	// with returns a manifest of three layers with changed history entries, newest first.
	with := func(change func(m map[string]any, history []map[string]any)) []byte {
		return images.Schema1("a/b", "v1", images.Layers(3, 10), images.Edit(func(m map[string]any) {
			entries := m["history"].([]any)
			var history []map[string]any
			for _, e := range entries {
				var h map[string]any
				if err := json.Unmarshal([]byte(e.(map[string]any)["v1Compatibility"].(string)), &h); err != nil {
					t.Fatal(err)
				}
				history = append(history, h)
			}
			change(m, history)
			if left, ok := m["history"].([]any); !ok || len(left) != len(entries) {
				return
			}
			for n, h := range history {
				if entries[n].(map[string]any)["v1Compatibility"] == "" || h["raw"] != nil {
					if h["raw"] != nil {
						entries[n].(map[string]any)["v1Compatibility"] = h["raw"]
					}
					continue
				}
				text, err := json.Marshal(h)
				if err != nil {
					t.Fatal(err)
				}
				entries[n].(map[string]any)["v1Compatibility"] = string(text)
			}
		})).Raw
	}
	set := func(n int, field string, value any) []byte {
		return with(func(_ map[string]any, h []map[string]any) { h[n][field] = value })
	}
	field := func(name string, value any) []byte {
		return with(func(m map[string]any, _ []map[string]any) { m[name] = value })
	}
	right := images.Schema1("a/b", "v1", images.Layers(3, 10))
	evil := images.Schema1("a/b", "v1", images.Seed(2), images.Layer(10))
	blobs := func(sums ...string) []map[string]any {
		var all []map[string]any
		for _, s := range sums {
			all = append(all, map[string]any{"blobSum": s})
		}
		return all
	}
	a := "sha256:" + strings.Repeat("a", 64)
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"fewer history entries than layers": {
			with(func(m map[string]any, _ []map[string]any) { m["history"] = m["history"].([]any)[1:] }),
			"manifest has 2 history entries, want 3, one for each layer",
		},
		"more history entries than layers": {field("fsLayers", blobs(a, a)), "manifest has 3 history entries, want 2, one for each layer"},
		"no history":                       {field("history", nil), "manifest has 0 history entries, want 3, one for each layer"},
		"no layers":                        {field("fsLayers", blobs()), "manifest has no layers in fsLayers"},
		"nothing at all":                   {images.Schema1("a/b", "v1").Raw, "manifest has no layers in fsLayers"},
		"empty history entry":              {set(1, "raw", ""), "manifest: history[1]: v1Compatibility is empty"},
		"history entry that is no object":  {set(1, "raw", "[]"), "manifest: history[1]: v1Compatibility is not an object"},
		"history entry that is not JSON":   {set(1, "raw", "{"), "manifest: history[1]: v1Compatibility cannot be read: unexpected end of JSON input"},
		"no id":                            {set(1, "id", ""), `manifest: history[1]: id "" is not 64 lower case hex digits`},
		"id that is a path":                {set(1, "id", "../../../etc/passwd"), `manifest: history[1]: id "../../../etc/passwd" is not 64 lower case hex digits`},
		"id in upper case":                 {set(1, "id", strings.Repeat("A", 64)), `manifest: history[1]: id "` + strings.Repeat("A", 64) + `" is not 64 lower case hex digits`},
		"parent of another layer":          {set(0, "parent", id(1)), fmt.Sprintf(`manifest: history[0]: parent is %q, want %q, the id of history[1]`, id(1), id(2))},
		"no parent in the middle":          {set(1, "parent", ""), fmt.Sprintf(`manifest: history[1]: parent is "", want %q, the id of history[2]`, id(1))},
		"base with a parent":               {set(2, "parent", id(9)), fmt.Sprintf(`manifest: history[2]: the lowest layer has the parent %q, want none`, id(9))},
		"id twice, not one after the other": {
			with(func(_ map[string]any, h []map[string]any) { h[0]["id"] = id(1) }),
			fmt.Sprintf("manifest: history[0]: id %s is that of history[2] too", id(1)),
		},
		"oldest first": {
			with(func(_ map[string]any, h []map[string]any) { h[0], h[2] = h[2], h[0] }),
			fmt.Sprintf(`manifest: history[2]: the lowest layer has the parent %q, want none`, id(2)),
		},
		"digest that is a path":  {field("fsLayers", blobs(a, "sha256:../../../../etc/passwd", a)), `manifest: fsLayers[1]: digest "sha256:../../../../etc/passwd" is not sha256: and 64 lower case hex digits`},
		"sha512":                 {field("fsLayers", blobs("sha512:"+strings.Repeat("a", 128), a, a)), `manifest: fsLayers[0]: digest "sha512:` + strings.Repeat("a", 128) + `" is not sha256: and 64 lower case hex digits`},
		"version 2":              {field("schemaVersion", 2), "manifest has the schema version 2, want 1"},
		"config too":             {field("config", map[string]any{"digest": a, "size": 2}), "manifest is ambiguous: it is of schema 1, but it has config, layers or manifests"},
		"manifests too":          {field("manifests", []any{}), "manifest is ambiguous: it is of schema 1, but it has config, layers or manifests"},
		"media type of schema 2": {field("mediaType", images.DockerManifest), "manifest is inconsistent: its media type is application/vnd.docker.distribution.manifest.v2+json, but it is of schema 1"},
		"FSLayers too":           {field("FSLayers", blobs(a, a, a)), `manifest is ambiguous: it has a field "FSLayers", which some tools take for "fsLayers"`},
		"too many layers": {
			field("fsLayers", blobs(make([]string, 5001)...)), "manifest has 5001 layers in fsLayers, the limit of schema 1 is 5000",
		},
		"time that is none": {set(1, "created", "yesterday"), `convert manifest of schema 1: parsing v2s1 history entry 1: parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"`},
		"another name of rootfs": {
			set(0, "rootf\u017f", map[string]any{"diff_ids": []string{a, a, "sha256:" + strings.Repeat("b", 64)}}),
			"convert manifest of schema 1: the config is ambiguous: it has other diff ids, too",
		},
		"signature cut off": {
			[]byte(strings.Replace(string(right.Raw), `"signatures": [`, `"signatures": [{}], "x": [`, 1)),
			"manifest has an invalid signature: ",
		},
		"negative length of the signed part": {
			signedLength(right.Raw, -1), "manifest has an invalid signature: ",
		},
		"signed part longer than the manifest": {
			signedLength(right.Raw, 1<<40), "manifest has an invalid signature: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := schema1.Parse(c.raw)
			if err == nil {
				layers := layersOf(right)
				for _, l := range m.Layers {
					layers[l.Digest] = schema1.Layer{DiffID: digest.Digest(a), Size: 1}
				}
				_, err = m.Convert(layers)
			}
			if begins := strings.HasSuffix(c.want, ": "); err == nil || begins && !strings.HasPrefix(err.Error(), c.want) || !begins && err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
	// Unsigned parts are ignored, whatever a decoder of the whole document would return.
	extra := bytes.Replace(right.Raw, []byte(`"signatures"`), fmt.Appendf(nil, `"fsLayers": [{"blobSum": %q}], "signatures"`, evil.Layers[0].Digest), 1)
	m, err := schema1.Parse(extra)
	if err != nil {
		t.Fatal(err)
	}
	if m.Digest != right.Digest || len(m.Layers) != 3 || m.Layers[0].Digest != right.Layers[0].Digest {
		t.Errorf("layers behind the signed part were taken: %v", m.Layers)
	}
}

// signedLength returns a manifest whose signature covers n bytes.
func signedLength(raw []byte, n int) []byte {
	var m map[string]json.RawMessage
	_ = json.Unmarshal(raw, &m)
	protected := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"formatLength": %d, "formatTail": "Cn0"}`, n))
	m["signatures"] = fmt.Appendf(nil, `[{"header": {"alg": "ES256"}, "protected": %q}]`, protected)
	raw, _ = json.Marshal(m)
	return raw
}

// TestRepeated checks that layers with the id of the one below are dropped, as by Docker, and compares with the library.
func TestRepeated(t *testing.T) {
	img := images.Schema1("a/b", "v1", images.Layers(4, 10), images.Edit(func(m map[string]any) {
		h := m["history"].([]any)
		h[1] = h[2] // the newest one now has the wrong parent
		h[0].(map[string]any)["v1Compatibility"] = strings.Replace(h[0].(map[string]any)["v1Compatibility"].(string),
			fmt.Sprintf(`"parent":"%064x"`, 3), fmt.Sprintf(`"parent":"%064x"`, 2), 1)
	}))
	m, err := schema1.Parse(img.Raw)
	if err != nil {
		t.Fatal(err)
	}
	library, err := imgmanifest.Schema1FromManifest(img.Raw)
	if err != nil {
		t.Fatal(err)
	}
	infos := library.LayerInfos()
	if len(m.Layers) != 3 || len(infos) != 3 {
		t.Fatalf("%d layers, the library has %d, want 3", len(m.Layers), len(infos))
	}
	for n, l := range m.Layers {
		if l.Digest != infos[n].Digest {
			t.Errorf("layer %d is %s, the library has %s", n, l.Digest, infos[n].Digest)
		}
	}
	if _, err := m.Convert(layersOf(img)); err != nil {
		t.Error(err)
	}
}

// FuzzParse checks that no manifest makes the parser panic, and that an accepted one is converted deterministically, or refused
// with a reason.
func FuzzParse(f *testing.F) {
	img := images.Schema1("a/b", "v1", images.Layers(2, 10), images.Use(images.EmptyLayer))
	f.Add(img.Raw)
	m, err := schema1.Parse(img.Raw)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Payload)
	f.Add(signedLength(img.Raw, -1))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := schema1.Digest(raw)
		m, e := schema1.Parse(raw)
		if e != nil {
			return
		}
		if err != nil || manifest.IsSchema1(raw) && d != m.Digest {
			t.Errorf("digest %s, error %v, and %s when it is parsed", d, err, m.Digest)
		}
		layers := map[digest.Digest]schema1.Layer{}
		for _, l := range m.Layers {
			layers[l.Digest] = schema1.Layer{DiffID: digest.FromString(string(l.Digest)), Size: 5}
		}
		one, err := m.Convert(layers)
		if err != nil {
			return
		}
		two, err := m.Convert(layers)
		if err != nil || !bytes.Equal(one.Config, two.Config) || !bytes.Equal(one.Manifest, two.Manifest) {
			t.Errorf("two conversions differ: %v", err)
		}
		if err := schema1.Gives(raw, one.Manifest, one.Config); err != nil {
			t.Error(err)
		}
	})
}
