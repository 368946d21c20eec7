package manifest_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
	"osbuild-containers/test/images"
)

var (
	hexA = strings.Repeat("a", 64)
	hexB = strings.Repeat("b", 64)
	hexC = strings.Repeat("c", 64)
)

// expand replaces <A> to <C> by digests, <config> by a config descriptor and <layer> by a layer's.
func expand(s string) string {
	s = strings.NewReplacer(
		"<config>", `{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "<A>", "size": 2}`,
		"<layer>", `{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "<B>", "size": 3}`,
		"<image>", "application/vnd.oci.image.manifest.v1+json",
		"<index>", "application/vnd.oci.image.index.v1+json",
		"<docker image>", "application/vnd.docker.distribution.manifest.v2+json",
		"<docker list>", "application/vnd.docker.distribution.manifest.list.v2+json",
	).Replace(s)
	return strings.NewReplacer("<A>", "sha256:"+hexA, "<B>", "sha256:"+hexB, "<C>", "sha256:"+hexC).Replace(s)
}

// TestAccepted checks how each kind of valid document is parsed: as list or image, and the number of layers, entries and blobs.
func TestAccepted(t *testing.T) {
	type want struct {
		list          bool
		parts, blobs  int
		firstPlatform string
	}
	for name, c := range map[string]struct {
		in   string
		want want
	}{
		"OCI image":               {`{"schemaVersion": 2, "mediaType": "<image>", "config": <config>, "layers": [<layer>]}`, want{parts: 1, blobs: 2}},
		"docker image":            {`{"schemaVersion": 2, "mediaType": "<docker image>", "config": <config>, "layers": [<layer>]}`, want{parts: 1, blobs: 2}},
		"image without mediaType": {`{"schemaVersion": 2, "config": <config>, "layers": [<layer>]}`, want{parts: 1, blobs: 2}},
		"image with mediaType null": {
			`{"schemaVersion": 2, "mediaType": null, "config": <config>, "layers": [<layer>]}`, want{parts: 1, blobs: 2},
		},
		"no layers":              {`{"schemaVersion": 2, "config": <config>, "layers": []}`, want{parts: 0, blobs: 1}},
		"a layer twice":          {`{"schemaVersion": 2, "config": <config>, "layers": [<layer>, <layer>]}`, want{parts: 2, blobs: 2}},
		"the config as a layer":  {`{"config": <config>, "layers": [{"digest": "<A>", "size": 2}]}`, want{parts: 1, blobs: 1}},
		"config without a type":  {`{"config": {"digest": "<A>", "size": 2}, "layers": []}`, want{blobs: 1}},
		"config of Docker 1.9":   {`{"config": {"mediaType": "application/octet-stream", "digest": "<A>", "size": 2}, "layers": []}`, want{blobs: 1}},
		"manifests null":         {`{"config": <config>, "layers": [<layer>], "manifests": null}`, want{parts: 1, blobs: 2}},
		"empty layer of no size": {`{"config": <config>, "layers": [{"digest": "<B>", "size": 0}]}`, want{parts: 1, blobs: 2}},
		"unknown fields":         {`{"config": <config>, "layers": [<layer>], "subject": {"digest": "<C>"}, "annotations": {"Layers": "x"}}`, want{parts: 1, blobs: 2}},
		"names of others": {
			`{"config": <config>, "layers": [{"digest": "<B>", "size": 3, "annotations": {"Size": "x", "size": "y", "a": "b\\\"{[,"}}],
			  "annotations": {"Digest": "x", "config": "{", "Config": ","}, "x": [{"digest": 1, "digest": 2}, ["layers", "layers"]], "X": 1, "x": 2}`,
			want{parts: 1, blobs: 2},
		},
		"white space": {
			"\n\t {\"config\": <config>, \"layers\": [<layer>]}\r\n", want{parts: 1, blobs: 2},
		},
		"OCI index": {
			`{"mediaType": "<index>", "manifests": [{"digest": "<A>", "size": 1, "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}}]}`,
			want{list: true, parts: 1, firstPlatform: "linux/arm/v7"},
		},
		"docker list": {
			`{"mediaType": "<docker list>", "manifests": [{"digest": "<A>", "size": 1, "platform": {"os": "linux", "architecture": "s390x"}}]}`,
			want{list: true, parts: 1, firstPlatform: "linux/s390x"},
		},
		"list without mediaType": {`{"manifests": [{"digest": "<A>", "size": 1}]}`, want{list: true, parts: 1, firstPlatform: "unknown"}},
		"list of nothing":        {`{"mediaType": "<index>", "manifests": []}`, want{list: true}},
		"list of nothing, untyped": {
			`{"schemaVersion": 2, "manifests": []}`, want{list: true},
		},
		"list in a list": {
			`{"mediaType": "<index>", "manifests": [{"mediaType": "<index>", "digest": "<A>", "size": 1}]}`,
			want{list: true, parts: 1, firstPlatform: "unknown"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := manifest.Parse([]byte(expand(c.in)))
			if err != nil {
				t.Fatal(err)
			}
			got := want{list: m.List, parts: len(m.Layers), blobs: len(m.Blobs())}
			if m.List {
				got.parts, got.blobs = len(m.Entries), 0
				if len(m.Entries) > 0 {
					got.firstPlatform = m.Entries[0].Platform.String()
				}
			}
			if got != c.want {
				t.Errorf("understood as %+v, want %+v", got, c.want)
			}
		})
	}
}

// TestMixed has media types of one family, of two and of none.
func TestMixed(t *testing.T) {
	const oci, docker = "application/vnd.oci.image.", "application/vnd.docker."
	for types, want := range map[[3]string]bool{
		{oci + "manifest.v1+json", oci + "config.v1+json", oci + "layer.v1.tar+gzip"}:                                         false,
		{docker + "distribution.manifest.v2+json", docker + "container.image.v1+json", docker + "image.rootfs.diff.tar.gzip"}: false,
		{"", "", ""}: false,
		{oci + "manifest.v1+json", oci + "config.v1+json", "application/x.tar"}:                              false,
		{docker + "distribution.manifest.v2+json", docker + "container.image.v1+json", oci + "layer.v1.tar"}: true,
		{oci + "manifest.v1+json", docker + "container.image.v1+json", oci + "layer.v1.tar+zstd"}:            true,
		{oci + "manifest.v1+json", oci + "config.v1+json", docker + "image.rootfs.diff.tar.gzip"}:            true,
		{"", docker + "container.image.v1+json", oci + "layer.v1.tar"}:                                       true,
	} {
		d := `"digest": "sha256:` + strings.Repeat("a", 64) + `", "size": 1`
		raw := fmt.Sprintf(`{"schemaVersion": 2, "mediaType": %q, "config": {"mediaType": %q, %s}, "layers": [{"mediaType": %q, %s}]}`, types[0], types[1], d, types[2], d)
		if types[0] == "" {
			raw = strings.Replace(raw, `"mediaType": "", `, "", 1)
		}
		m, err := manifest.Parse([]byte(raw))
		if err != nil || m.Mixed != want {
			t.Errorf("%q: mixed %v, want %v, error %v", types, !want, want, err)
		}
	}
}

// TestRefused pairs a document with its error.
func TestRefused(t *testing.T) {
	image := func(fields string) string { return `{"schemaVersion": 2, ` + fields + `}` }
	layer := func(digest string) string {
		return image(`"config": <config>, "layers": [<layer>, {"digest": "` + digest + `", "size": 1}]`)
	}
	badDigest := func(at, digest string) string {
		return fmt.Sprintf("manifest: %s: digest %q is not sha256: and 64 lower case hex digits", at, digest)
	}
	for name, c := range map[string]struct{ in, want string }{
		"empty":          {"", "manifest is not JSON: unexpected end of JSON input"},
		"not JSON":       {"<html>busy</html>", "manifest is not JSON: invalid character '<' looking for beginning of value"},
		"an array":       {"[]", "manifest is an array, want an object"},
		"a string":       {`"x"`, "manifest is a string, want an object"},
		"null":           {"null", "manifest has neither layers nor manifests: not a container image"},
		"cut short":      {`{"config":`, "manifest is not JSON: unexpected end of JSON input"},
		"two documents":  {`{"manifests": []} {}`, "manifest is not JSON: invalid character '{' after top-level value"},
		"nested deeply":  {`{"x": ` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, "manifest is not JSON: invalid character '[' exceeded max depth"},
		"nothing":        {`{}`, "manifest has neither layers nor manifests: not a container image"},
		"layers number":  {image(`"config": <config>, "layers": 7`), "manifest: layers is a number, want an array"},
		"layer string":   {image(`"config": <config>, "layers": ["x"]`), "manifest: layers is a string, want an object"},
		"size string":    {image(`"config": {"digest": "<A>", "size": "2"}, "layers": []`), "manifest: config.size is a string, want a whole number"},
		"size fraction":  {image(`"config": {"digest": "<A>", "size": 2.5}, "layers": []`), "manifest: config.size is the number 2.5, want a whole number"},
		"size too large": {image(`"config": {"digest": "<A>", "size": 9223372036854775808}, "layers": []`), "manifest: config.size is the number 9223372036854775808, want a whole number"},
		"both":           {image(`"config": <config>, "layers": [<layer>], "manifests": []`), "manifest is ambiguous: it has both layers and manifests"},
		"both, no config": {
			image(`"layers": [], "manifests": []`), "manifest is ambiguous: it has both layers and manifests",
		},
		"config and manifests": {image(`"config": <config>, "manifests": []`), "manifest is ambiguous: it has both config and manifests"},
		"image as list": {
			image(`"mediaType": "<index>", "config": <config>, "layers": [<layer>]`),
			"manifest is inconsistent: its media type is application/vnd.oci.image.index.v1+json, but it has layers",
		},
		"list as image": {
			image(`"mediaType": "<docker image>", "manifests": []`),
			"manifest is inconsistent: its media type is application/vnd.docker.distribution.manifest.v2+json, but it lists manifests",
		},
		"list type alone": {image(`"mediaType": "<index>"`), "manifest has neither layers nor manifests: not a container image"},
		"unknown type": {
			image(`"mediaType": "application/vnd.cncf.helm.chart.v1+json", "config": <config>, "layers": []`),
			`manifest has the unknown media type "application/vnd.cncf.helm.chart.v1+json": not a container image`,
		},
		"empty type": {image(`"mediaType": "", "manifests": []`), `manifest has the unknown media type "": not a container image`},
		"type with a break": {
			image(`"mediaType": "a\nb", "manifests": []`), `manifest has the unknown media type "a\nb": not a container image`,
		},
		"type number": {image(`"mediaType": 3, "manifests": []`), "manifest: mediaType is a number, want a string"},
		"schema 1":    {`{"schemaVersion": 1, "fsLayers": [], "history": []}`, manifest.ErrSchema1.Error()},
		"schema 1 without version": {
			`{"fsLayers": [{"blobSum": "<A>"}]}`, manifest.ErrSchema1.Error(),
		},
		"schema 1 with layers": {
			`{"schemaVersion": 1, "config": <config>, "layers": []}`, manifest.ErrSchema1.Error(),
		},
		"no config":     {image(`"layers": [<layer>]`), "manifest has no config: not a container image"},
		"config null":   {image(`"config": null, "layers": [<layer>]`), "manifest has no config: not a container image"},
		"no layers":     {image(`"config": <config>`), "manifest has no layers field"},
		"a field twice": {image(`"config": <config>, "layers": [<layer>], "layers": []`), `manifest is ambiguous: it has the field "layers" twice`},
		"a field in another case": {
			image(`"config": <config>, "Layers": [<layer>], "layers": []`), `manifest is ambiguous: it has a field "Layers", which some tools take for "layers"`,
		},
		"only in another case": {
			image(`"config": <config>, "LAYERS": []`), `manifest is ambiguous: it has a field "LAYERS", which some tools take for "layers"`,
		},
		"a digest twice": {
			image(`"config": <config>, "layers": [<layer>, {"digest": "<B>", "size": 3, "digest": "<C>"}]`), `manifest is ambiguous: it has the field "digest" twice`,
		},
		"a digest twice, escaped": {
			image(`"config": {"digest": "<A>", "d\u0069gest": "<B>", "size": 1}, "layers": []`), `manifest is ambiguous: it has the field "digest" twice`,
		},
		"a size in another case": {
			`{"manifests": [{"digest": "<A>", "size": 1, "Size": 2}]}`, `manifest is ambiguous: it has a field "Size", which some tools take for "size"`,
		},
		"a platform twice": {
			`{"manifests": [{"digest": "<A>", "size": 1, "platform": {"os": "a", "os": "b"}}]}`, `manifest is ambiguous: it has the field "os" twice`,
		},
		"long s": { // which Go treats as an s
			image(`"config": <config>, "layer\u017f": []`), "manifest is ambiguous: it has a field \"layer\u017f\", which some tools take for \"layers\"",
		},
		"empty config": {
			image(`"config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": "<A>", "size": 2}, "layers": []`),
			`manifest is of an artifact of type "application/vnd.oci.empty.v1+json": not a container image`,
		},
		"artifact": {
			image(`"artifactType": "application/spdx+json", "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": "<A>", "size": 2}, "layers": []`),
			`manifest is of an artifact of type "application/spdx+json": not a container image`,
		},
		"config of size -1": {image(`"config": {"digest": "<A>", "size": -1}, "layers": []`), "manifest: config: sha256:" + hexA + ": size -1 is negative"},
		"layer of size -1": {
			image(`"config": <config>, "layers": [{"digest": "<B>", "size": -1}]`), "manifest: layers[0]: sha256:" + hexB + ": size -1 is negative",
		},
		"entry of size -1": {
			`{"manifests": [{"digest": "<B>", "size": -7}]}`, "manifest list: manifests[0]: sha256:" + hexB + ": size -7 is negative",
		},
		"two sizes": {
			image(`"config": <config>, "layers": [<layer>, {"digest": "<B>", "size": 4}]`),
			"manifest is inconsistent: sha256:" + hexB + " is 3 bytes long in one place and 4 in another",
		},
		"two sizes, config": {
			image(`"config": <config>, "layers": [{"digest": "<A>", "size": 4}]`),
			"manifest is inconsistent: sha256:" + hexA + " is 2 bytes long in one place and 4 in another",
		},
		"config without a digest": {image(`"config": {"size": 2}, "layers": []`), badDigest("config", "")},
		"layer without a digest":  {layer(""), badDigest("layers[1]", "")},
		"sha512":                  {layer("sha512:" + hexB + hexB), badDigest("layers[1]", "sha512:"+hexB+hexB)},
		"md5":                     {layer("md5:" + hexB[:32]), badDigest("layers[1]", "md5:"+hexB[:32])},
		"short":                   {layer("sha256:" + hexB[1:]), badDigest("layers[1]", "sha256:"+hexB[1:])},
		"long":                    {layer("sha256:" + hexB + "b"), badDigest("layers[1]", "sha256:"+hexB+"b")},
		"upper case":              {layer("sha256:" + strings.ToUpper(hexB)), badDigest("layers[1]", "sha256:"+strings.ToUpper(hexB))},
		"bare hex":                {layer(hexB), badDigest("layers[1]", hexB)},
		"path":                    {layer("sha256:../../../etc/passwd"), badDigest("layers[1]", "sha256:../../../etc/passwd")},
		"path before":             {layer("../sha256:" + hexB), badDigest("layers[1]", "../sha256:"+hexB)},
		"path after":              {layer("sha256:" + hexB + "/.."), badDigest("layers[1]", "sha256:"+hexB+"/..")},
		"path of 64":              {layer("sha256:" + strings.Repeat("../", 21) + "a"), badDigest("layers[1]", "sha256:"+strings.Repeat("../", 21)+"a")},
		"zero byte":               {layer(`sha256:` + hexB[1:] + `\u0000`), badDigest("layers[1]", "sha256:"+hexB[1:]+"\x00")},
		"path in a list":          {`{"manifests": [{"digest": "sha256:..", "size": 1}]}`, `manifest list: manifests[0]: digest "sha256:.." is not sha256: and 64 lower case hex digits`},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := manifest.Parse([]byte(expand(c.in)))
			if err == nil {
				t.Fatalf("accepted as %+v", m)
			}
			if err.Error() != c.want {
				t.Errorf("got  %s\nwant %s", err, c.want)
			}
		})
	}
}

// TestKindsOfRefusal checks the errors that callers distinguish.
func TestKindsOfRefusal(t *testing.T) {
	for name, c := range map[string]struct {
		img  *images.Image
		want error
	}{
		"schema 1":          {images.Schema1("a/b", "v1", images.Layer(10)), manifest.ErrSchema1},
		"artifact":          {images.New(images.Artifact("application/spdx+json"), images.Layer(10)), manifest.ErrArtifact},
		"no config":         {images.New(images.NoConfig(), images.Layer(10)), manifest.ErrArtifact},
		"strange mediaType": {images.New(images.MediaType("text/plain"), images.Layer(10)), manifest.ErrArtifact},
	} {
		if _, err := manifest.Parse(c.img.Raw); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// TestManyLayers checks that a large number of layers is accepted.
func TestManyLayers(t *testing.T) {
	for _, n := range []int{0, 1, 200, 20_000} {
		var doc strings.Builder
		doc.WriteString(expand(`{"schemaVersion":2,"config":<config>,"layers":[`))
		for i := range n {
			if i > 0 {
				doc.WriteByte(',')
			}
			fmt.Fprintf(&doc, `{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:%064x","size":%d}`, i, i)
		}
		doc.WriteString("]}")
		m, err := manifest.Parse([]byte(doc.String()))
		if err != nil {
			t.Fatalf("%d layers: %v", n, err)
		}
		blobs := m.Blobs()
		if len(m.Layers) != n || len(blobs) != n+1 || blobs[0].Digest != digest.Digest("sha256:"+hexA) {
			t.Errorf("%d layers: got %d, and %d blobs that begin with %s", n, len(m.Layers), len(blobs), blobs[0].Digest)
		}
	}
}

// TestTooLong checks that a document over the limit is refused before it is parsed.
func TestTooLong(t *testing.T) {
	head := []byte(`{"manifests": []}`)
	most := append(head, make([]byte, manifest.MaxSize-len(head))...)
	for i := len(head); i < len(most); i++ {
		most[i] = ' '
	}
	if _, err := manifest.Parse(most); err != nil {
		t.Errorf("document of the largest size: %v", err)
	}
	for _, size := range []int{manifest.MaxSize + 1, 50 << 20} {
		_, err := manifest.Parse(make([]byte, size))
		if want := fmt.Sprintf("manifest is %d bytes long, the limit is 4194304", size); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestBounds pairs sizes and numbers in documents with errors: no later sum overflows, and nothing is decoded that takes much more
// memory than its text.
func TestBounds(t *testing.T) {
	t.Parallel()
	a, b := "sha256:"+strings.Repeat("a", 64), "sha256:"+strings.Repeat("b", 64)
	layers := func(sizes ...int64) string {
		text := fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q,"size":1},"layers":[`, a)
		for i, size := range sizes {
			text += strings.Repeat(",", min(i, 1)) + fmt.Sprintf(`{"digest":%q,"size":%d}`, b[:len(b)-1]+fmt.Sprint(i), size)
		}
		return text + "]}"
	}
	list := func(sizes ...int64) string {
		_, entries, _ := strings.Cut(layers(sizes...), `"layers"`)
		return `{"schemaVersion":2,"manifests"` + entries
	}
	const limit = int64(1) << 50
	for name, c := range map[string]struct{ raw, want string }{
		"largest":            {layers(limit - 1), ""},
		"largest of a list":  {list(limit/2, limit/2), ""},
		"too large":          {layers(limit + 1), "size 1125899906842625 is above the limit of 1125899906842624 bytes"},
		"2^63-1":             {layers(math.MaxInt64), "is above the limit"},
		"sum":                {layers(limit/2, limit/2), "the sizes add up to more than the limit of 1125899906842624 bytes"},
		"sum of many":        {layers(limit, limit, limit, limit), "the sizes add up"},
		"sum of a list":      {list(limit, limit), "the sizes add up"},
		"2^63-1 in a list":   {list(math.MaxInt64), "is above the limit"},
		"empty objects":      {`{"layers":[` + strings.Repeat("{},", 1_390_000) + `{}],"config":{}}`, "manifest has 1390004 objects and arrays, the limit is 50000"},
		"empty arrays":       {`{"x":[` + strings.Repeat("[],", 1_390_000) + `[]]}`, "objects and arrays, the limit is 50000"},
		"brackets in a text": {strings.Replace(layers(1), "{", `{"x":"\"`+strings.Repeat("[{", 30_000)+`",`, 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := manifest.Parse([]byte(c.raw))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestUnmarshal checks the same for configs and history entries.
func TestUnmarshal(t *testing.T) {
	t.Parallel()
	var c struct {
		History []struct{ A, B, C, D string }
	}
	history := func(n int) []byte { return []byte(`{"history":[` + strings.Repeat("{},", n-1) + `{}]}`) }
	if err := manifest.Unmarshal(history(49_998), &c); err != nil || len(c.History) != 49_998 {
		t.Errorf("%v, %d steps", err, len(c.History))
	}
	if err := manifest.Unmarshal(history(49_999), &c); err == nil || err.Error() != "50001 objects and arrays, the limit is 50000" {
		t.Errorf("got %v", err)
	}
	if _, err := manifest.PlatformOf(history(1_390_000)); err == nil || !strings.Contains(err.Error(), "objects and arrays") {
		t.Errorf("got %v", err)
	}
}

func TestAddSizes(t *testing.T) {
	t.Parallel()
	const most = math.MaxInt64
	for _, c := range [][3]int64{{0, 0, 0}, {1, 2, 3}, {most, 0, most}, {most - 1, 1, most}, {most, 1, most}, {most, most, most}, {-5, most, most - 5}} {
		if got := manifest.AddSizes(c[0], c[1]); got != c[2] {
			t.Errorf("%d and %d: got %d, want %d", c[0], c[1], got, c[2])
		}
	}
}
