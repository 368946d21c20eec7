package request_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"osbuild-containers/internal/request"
)

const (
	skopeo  = "org.osbuild.skopeo"
	index   = "org.osbuild.skopeo-index"
	storage = "org.osbuild.containers-storage"
)

var (
	idA    = "sha256:" + strings.Repeat("a", 64)
	idB    = "sha256:" + strings.Repeat("b", 64)
	pinned = "sha256:" + strings.Repeat("d", 64)
	hex64  = strings.Repeat("0", 64)
)

// expand replaces <A>, <B>, <D> and <H> by digests.
func expand(s string) string {
	return strings.NewReplacer("<A>", idA, "<B>", idB, "<D>", pinned, "<H>", hex64).Replace(s)
}

// withImage returns a request for one image with these fields.
func withImage(fields string) string {
	return `{"items": {"<A>": {"image": {` + fields + `}}}, "cache": "/c"}`
}

// named returns a request for the image with this name.
func named(name string) string { return withImage(fmt.Sprintf(`"name": %s, "digest": "<D>"`, name)) }

// TestRefused pairs requests with the complete error.
func TestRefused(t *testing.T) {
	const image = "items.<A>.image"
	for name, c := range map[string]struct{ source, in, want string }{
		// not one JSON object
		"empty":          {in: "", want: "the request is empty: a JSON object is expected"},
		"white space":    {in: " \n\t", want: "the request is empty: a JSON object is expected"},
		"not JSON":       {in: "items:\n", want: "line 1, column 1: not JSON: invalid character 'i' at start of value"},
		"cut short":      {in: `{"items": {}`, want: "line 1, column 13: not JSON: the text is incomplete"},
		"cut in string":  {in: `{"ite`, want: "line 1, column 6: not JSON: the text is incomplete"},
		"cut in escape":  {in: `{"ite\`, want: "line 1, column 6: not JSON: the text is incomplete"},
		"second line":    {in: "{\n  \"items\": {},\n  \"cache\": tru}", want: "line 3, column 15: not JSON: invalid character '}' in literal true (expecting 'e')"},
		"no-break space": {in: "\u00a0", want: `line 1, column 1: not JSON: invalid character '\u00a0' at start of value`},
		"no-break space behind it": {
			in: "{}\u00a0", want: "line 1, column 3: something follows the request: one JSON object is expected",
		},
		"vertical tab behind it": {in: "{}\v", want: "line 1, column 3: something follows the request: one JSON object is expected"},
		"column counts characters": {
			in: `{"é": x}`, want: "line 1, column 7: not JSON: invalid character 'x' at start of value",
		},
		"trailing comma":  {in: `{"items": {},}`, want: "line 1, column 13: not JSON: invalid character ',' at start of value"},
		"leading comma":   {in: `{,}`, want: "line 1, column 2: not JSON: invalid character ',' at start of value"},
		"no comma":        {in: `{"items": {} "cache": 1}`, want: `line 1, column 14: not JSON: invalid character '"' after object value (expecting ',' or '}')`},
		"no colon":        {in: `{"items" {}}`, want: "line 1, column 10: not JSON: invalid character '{' after object name (expecting ':')"},
		"no value":        {in: `{"items":}`, want: "line 1, column 10: not JSON: invalid character '}' at start of value"},
		"comma in list":   {in: `{"items": [1,]}`, want: "line 1, column 13: not JSON: invalid character ',' at start of value"},
		"wrong bracket":   {in: `{"items": [1}`, want: "line 1, column 13: not JSON: invalid character '}' after array element (expecting ',' or ']')"},
		"bad escape":      {in: `{"\q": 1}`, want: "line 1, column 3: not JSON: invalid escape sequence `\\q` in string"},
		"line in string":  {in: "{\"a\nb\": 1}", want: `line 1, column 4: not JSON: invalid character '\n' in string (expecting non-control character)`},
		"comment":         {in: "{} // all", want: "line 1, column 4: something follows the request: one JSON object is expected"},
		"two documents":   {in: `{"items": {}, "cache": "/c"} {}`, want: "line 1, column 30: something follows the request: one JSON object is expected"},
		"list":            {in: ` [{}]`, want: "the request must be a JSON object, got a list"},
		"null":            {in: `null`, want: "the request must be a JSON object, got null"},
		"string":          {in: `"{}"`, want: `the request must be a JSON object, got "{}"`},
		"byte order mark": {in: "\ufeff{}", want: `line 1, column 1: not JSON: invalid character '\ufeff' at start of value`},
		"not UTF-8":       {in: "{\"cache\": \"/\xff\"}", want: "line 1, column 13: not JSON: invalid UTF-8"},
		"NUL":             {in: "\x00", want: `line 1, column 1: not JSON: invalid character '\x00' at start of value`},
		"deep lists":      {in: `{"items": ` + strings.Repeat("[", 100_000), want: "line 1, column 10010: not JSON: exceeded max depth"},
		"deep objects":    {in: strings.Repeat(`{"a":`, 100_000), want: "line 1, column 50001: not JSON: exceeded max depth"},
		"endless number":  {in: `{"options": {"retries": 1e999999999}}`, want: "options.retries: must be a number of at most 18 digits without an exponent, got 1e999999999"},
		"long number":     {in: `{"options": {"retries": 1234567890123456789}}`, want: "options.retries: must be a number of at most 18 digits without an exponent, got 1234567890123456789"},
		"leading zero":    {in: `{"options": {"retries": 05}}`, want: "line 1, column 26: not JSON: invalid character '5' after object value (expecting ',' or '}')"},

		// the envelope
		"nothing":               {in: `{}`, want: "field \"cache\" is missing\ngive exactly one of items and digests"},
		"neither":               {in: `{"cache": "/c"}`, want: "give exactly one of items and digests"},
		"both":                  {in: `{"items": {}, "digests": {}, "cache": "/c"}`, want: "give exactly one of items and digests"},
		"unknown field":         {in: `{"items": {}, "cache": "/c", "Cache": "/d", "tree": "/t"}`, want: "unknown field \"Cache\"\nunknown field \"tree\""},
		"unknown control":       {in: `{"items": {}, "cache": "/c", "a\u001bb": 1}`, want: `unknown field "a\x1bb"`},
		"field twice":           {in: `{"items": {}, "cache": "/c", "cache": "/d"}`, want: "cache: is given twice"},
		"items twice":           {in: `{"items": {}, "items": {}, "cache": "/c"}`, want: "items: is given twice"},
		"items of wrong type":   {in: `{"items": ["<A>"], "cache": "/c"}`, want: "items: must be an object, got a list"},
		"items null":            {in: `{"items": null, "cache": "/c"}`, want: "items: must be an object, got null"},
		"wrong types":           {in: `{"items": "x", "cache": 5, "method": true, "options": 1}`, want: "cache: must be a string, got 5\nitems: must be an object, got \"x\"\nmethod: must be a string, got true\noptions: must be an object, got 1"},
		"method":                {in: `{"items": {}, "cache": "/c", "method": "Download"}`, want: `method: must be "download" or "copy", got "Download"`},
		"cache missing":         {in: `{"items": {}}`, want: `field "cache" is missing`},
		"cache empty":           {in: `{"items": {}, "cache": ""}`, want: "cache: is empty: give an absolute path"},
		"cache relative":        {in: `{"items": {}, "cache": "var/cache"}`, want: `cache: must be an absolute path, got "var/cache"`},
		"cache with NUL":        {in: `{"items": {}, "cache": "/c\u0000d"}`, want: `cache: has a NUL byte in it: "/c\x00d"`},
		"cache half surrogate":  {in: `{"items": {}, "cache": "/\udc80"}`, want: "line 1, column 26: not JSON: invalid surrogate pair `\\udc80\"}` in string"},
		"copy without dst":      {in: `{"items": {}, "cache": "/c", "method": "copy"}`, want: `field "dst_cache" is missing: copy needs it`},
		"copy to relative":      {in: `{"items": {}, "cache": "/c", "method": "copy", "dst_cache": "d"}`, want: `dst_cache: must be an absolute path, got "d"`},
		"download with dst":     {in: `{"items": {}, "cache": "/c", "dst_cache": "/d"}`, want: "dst_cache: is for copy only, not for download"},
		"options unknown":       {in: `{"items": {}, "cache": "/c", "options": {"retrys": 1}}`, want: `options: unknown field "retrys"`},
		"options out of bounds": {in: `{"items": {}, "cache": "/c", "options": {"retries": -1, "timeout": 0, "stall-timeout": 0, "max-parallel": 65}}`, want: "options.max-parallel: must be at most 64, got 65\noptions.retries: must be at least 0, got -1\noptions.stall-timeout: must be at least 1, got 0\noptions.timeout: must be at least 1, got 0"},
		"options not integers":  {in: `{"items": {}, "cache": "/c", "options": {"retries": "5", "timeout": 1.5, "max-parallel": null}}`, want: "options.max-parallel: must be a whole number, got null\noptions.retries: must be a whole number, got \"5\"\noptions.timeout: must be a whole number, got 1.5"},
		"option with a point":   {in: `{"items": {}, "cache": "/c", "options": {"timeout": 30.0}}`, want: "options.timeout: must be a whole number, got 30.0"},
		"option twice":          {in: `{"items": {}, "cache": "/c", "options": {"retries": 1, "retries": 2}}`, want: "options.retries: is given twice"},
		"options of storage":    {source: storage, in: `{"items": {}, "cache": "/c", "options": {"retries": 1}}`, want: `options: unknown field "retries"`},
		"envelope and item":     {in: `{"items": {"<A>": {}}, "x": 1}`, want: "field \"cache\" is missing\nunknown field \"x\"\nitems.<A>: field \"image\" is missing"},

		// keys
		"key unanchored before": {source: storage, in: `{"items": {"x<A>": {}}, "cache": "/c"}`, want: `items: a key must be sha256: and 64 lower-case hexadecimal digits, got "x<A>"`},
		"key unanchored after":  {source: storage, in: `{"items": {"<A>0": {}}, "cache": "/c"}`, want: `items: a key must be sha256: and 64 lower-case hexadecimal digits, got "<A>0"`},
		"key with line feed":    {source: storage, in: `{"items": {"<A>\n": {}}, "cache": "/c"}`, want: `items: a key must be sha256: and 64 lower-case hexadecimal digits, got "<A>\n"`},
		"key is a path":         {source: storage, in: `{"digests": {"../x/<A>": {}}, "cache": "/c"}`, want: `digests: a key must be sha256: and 64 lower-case hexadecimal digits, got "../x/<A>"`},
		"key is a path below":   {source: storage, in: `{"items": {"<A>/../..": {}}, "cache": "/c"}`, want: `items: a key must be sha256: and 64 lower-case hexadecimal digits, got "<A>/../.."`},
		"key in upper case":     {source: storage, in: `{"items": {"sha256:A<H>": {}, "SHA256:<H>": {}}, "cache": "/c"}`, want: "items: a key must be sha256: and 64 lower-case hexadecimal digits, got \"SHA256:<H>\"\nitems: a key must be sha256: and 64 lower-case hexadecimal digits, got \"sha256:A<H>\""},
		"key of sha512":         {source: storage, in: `{"items": {"sha512:<H><H>": {}}, "cache": "/c"}`, want: `items: a key must be sha256: and 64 lower-case hexadecimal digits, got "sha512:` + strings.Repeat("0", 113) + `…"`},
		"key empty":             {source: storage, in: `{"items": {"": {}}, "cache": "/c"}`, want: `items: a key must be sha256: and 64 lower-case hexadecimal digits, got ""`},
		"key twice":             {source: storage, in: `{"items": {"<A>": {}, "<B>": {}, "<A>": {}}, "cache": "/c"}`, want: "items.<A>: is given twice"},

		// items
		"item not an object":    {in: `{"items": {"<A>": "my.test/x"}, "cache": "/c"}`, want: `items.<A>: must be an object, got "my.test/x"`},
		"item unknown field":    {in: `{"items": {"<A>": {"image": {"name": "q.io/x", "digest": "<D>"}, "foo": 1}}, "cache": "/c"}`, want: `items.<A>: unknown field "foo"`},
		"item unknown in alias": {in: `{"digests": {"<A>": {"image": {"name": "q.io/x", "digest": "<D>"}, "foo": 1}}, "cache": "/c"}`, want: `digests.<A>: unknown field "foo"`},
		"item of storage":       {source: storage, in: `{"items": {"<A>": {"image": {"name": "q.io/x"}}}, "cache": "/c"}`, want: `items.<A>: unknown field "image"`},
		"image not an object":   {in: `{"items": {"<A>": {"image": []}}, "cache": "/c"}`, want: image + `: must be an object, got a list`},
		"image empty":           {in: withImage(``), want: image + ": field \"digest\" is missing\n" + image + `: field "name" is missing`},
		"image unknown field":   {in: withImage(`"name": "q.io/x", "digest": "<D>", "tls_verify": true, "a/b~c": {}`), want: image + ": unknown field \"a/b~c\"\n" + image + `: unknown field "tls_verify"`},
		"image of index":        {source: index, in: named(`"q.io/x"`), want: image + `: unknown field "digest"`},
		"image wrong types":     {in: withImage(`"name": 1, "digest": null, "tls-verify": "false", "containers-transport": [], "storage-location": {}`), want: image + ".containers-transport: must be a string, got a list\n" + image + ".digest: must be a string, got null\n" + image + ".name: must be a string, got 1\n" + image + ".storage-location: must be a string, got an object\n" + image + `.tls-verify: must be true or false, got "false"`},
		"image field twice":     {in: withImage(`"name": "q.io/x", "digest": "<D>", "digest": "<D>"`), want: image + ".digest: is given twice"},
		"transport":             {in: withImage(`"name": "q.io/x", "digest": "<D>", "containers-transport": "oci"`), want: image + `.containers-transport: must be "docker" or "containers-storage", got "oci"`},
		"storage location":      {in: withImage(`"name": "q.io/x", "digest": "<D>", "containers-transport": "containers-storage", "storage-location": "x"`), want: image + `.storage-location: must be an absolute path, got "x"`},
		"digest unanchored":     {in: withImage(`"name": "q.io/x", "digest": "../<D>"`), want: image + `.digest: must be sha256: and 64 lower-case hexadecimal digits, got "../<D>"`},
		"digest with line feed": {in: withImage(`"name": "q.io/x", "digest": "<D>\n"`), want: image + `.digest: must be sha256: and 64 lower-case hexadecimal digits, got "<D>\n"`},
		"schema and name":       {in: withImage(`"name": "q.io/x/", "x": 1`), want: image + ": field \"digest\" is missing\n" + image + ": unknown field \"x\"\n" + image + `.name: ends with a slash: "q.io/x/"`},

		// names
		"name empty":           {in: named(`""`), want: image + ".name: is empty"},
		"name with spaces":     {in: named(`"q.io/a b"`), want: image + `.name: has a space in it: "q.io/a b"`},
		"name with line feed":  {in: named(`"q.io/a\n"`), want: image + `.name: has a control character in it: "q.io/a\n"`},
		"name with escape":     {in: named(`"\u001b[31mq.io/a"`), want: image + `.name: has a control character in it: "\x1b[31mq.io/a"`},
		"name with bidi":       {in: named(`"q.io/\u202ea"`), want: image + `.name: has a control character in it: "q.io/\u202ea"`},
		"name with password":   {in: named(`"https://ann:secret@q.io/a"`), want: image + `.name: has something before an "@": leave out user name and password; podman login keeps them`},
		"name with digest":     {in: named(`"q.io/a@<D>"`), want: image + `.name: has a digest in it, which belongs in the field digest: "q.io/a@<D>"`},
		"name of list, digest": {source: index, in: withImage(`"name": "q.io/a@<D>"`), want: image + `.name: has a digest in it, which belongs in the item's key: "q.io/a@<D>"`},
		"name in upper case":   {in: named(`"q.io/Fedora"`), want: image + `.name: must be lower case: "q.io/Fedora"`},
		"name with scheme":     {in: named(`"docker://q.io/a"`), want: image + `.name: leave out "docker://": "docker://q.io/a"`},
		"name with slash":      {in: named(`"q.io/a/"`), want: image + `.name: ends with a slash: "q.io/a/"`},
		"name with dots":       {in: named(`"q.io/../a"`), want: image + `.name: is not the name of an image: "q.io/../a"`},
		"name is an option":    {in: named(`"--help"`), want: image + `.name: is not the name of an image: "--help"`},
		"name is a path":       {in: named(`"/etc/passwd"`), want: image + `.name: is not the name of an image: "/etc/passwd"`},
		"name with bad tag":    {in: named(`"q.io/a:"`), want: image + `.name: is not the name of an image: "q.io/a:"`},
		"name is an id":        {in: named(`"<H>"`), want: image + `.name: is not the name of an image: "<H>"`},
	} {
		t.Run(name, func(t *testing.T) {
			source := c.source
			if source == "" {
				source = skopeo
			}
			_, err := request.Decode(source, []byte(expand(c.in)))
			if _, ok := errors.AsType[*request.Error](err); !ok {
				t.Fatalf("got %v (%T), want a *request.Error", err, err)
			}
			if got, want := err.Error(), expand(c.want); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestAccepted(t *testing.T) {
	options := request.Options{Retries: 5, Timeout: 300 * time.Second, StallTimeout: 30 * time.Second, HeaderTimeout: 120 * time.Second, MaxParallel: 6}
	image := request.Image{Name: "q.io/x", Digest: "<D>", Access: request.Access{TLSVerify: true}, Transport: "docker"}
	changed := func(change func(*request.Image)) request.Image {
		i := image
		change(&i)
		return i
	}
	one := func(i request.Image) request.Request {
		return request.Request{Method: "download", Items: []request.Item{{ID: "<A>", Image: i}}, Options: options, Cache: "/c"}
	}
	for name, c := range map[string]struct {
		source, in string
		want       request.Request
	}{
		"image":        {skopeo, named(`"q.io/x"`), one(image)},
		"list":         {index, withImage(`"name": "q.io/x"`), one(changed(func(i *request.Image) { i.Digest = "" }))},
		"stored":       {storage, `{"items": {"<A>": {}}, "cache": "/c"}`, one(request.Image{})},
		"alias":        {storage, `{"digests": {"<A>": {}}, "cache": "/c"}`, one(request.Image{})},
		"no items":     {skopeo, `{"items": {}, "cache": "/c"}`, request.Request{Method: "download", Options: options, Cache: "/c"}},
		"null options": {storage, `{"items": {"<A>": {}}, "cache": "/c", "options": null}`, one(request.Image{})},
		"options": {
			skopeo, `{"items": {}, "cache": "/c", "options": {"retries": 0, "timeout": 1, "stall-timeout": 2, "header-timeout": 3, "max-parallel": 64}}`,
			request.Request{
				Method:  "download",
				Options: request.Options{Timeout: time.Second, StallTimeout: 2 * time.Second, HeaderTimeout: 3 * time.Second, MaxParallel: 64},
				Cache:   "/c",
			},
		},
		"sorted": {
			storage, `{"items": {"<B>": {}, "<A>": {}}, "cache": "/c"}`,
			request.Request{Method: "download", Items: []request.Item{{ID: "<A>"}, {ID: "<B>"}}, Options: options, Cache: "/c"},
		},
		"copy": {
			skopeo, `{"method": "copy", "items": {}, "cache": "/c", "dst_cache": "/d"}`,
			request.Request{Method: "copy", Options: options, Cache: "/c", DstCache: "/d"},
		},
		"strange but good paths": {
			skopeo, `{"method": "copy", "items": {}, "cache": "/with space:and [colon]", "dst_cache": "/\u00e9\n"}`,
			request.Request{Method: "copy", Options: options, Cache: "/with space:and [colon]", DstCache: "/é\n"},
		},
		"name with tag":       {skopeo, named(`"q.io/x:v1_2"`), one(changed(func(i *request.Image) { i.Name = "q.io/x:v1_2" }))},
		"name with port":      {skopeo, named(`"localhost:5000/x"`), one(changed(func(i *request.Image) { i.Name = "localhost:5000/x" }))},
		"name without domain": {skopeo, named(`"fedora"`), one(changed(func(i *request.Image) { i.Name = "fedora" }))},
		"name with escapes":   {skopeo, named(`"q.io\/\u0078"`), one(image)},
		"domain upper case":   {skopeo, named(`"Q.io/x"`), one(changed(func(i *request.Image) { i.Name = "Q.io/x" }))},
		"no TLS":              {skopeo, withImage(`"name": "q.io/x", "digest": "<D>", "tls-verify": false`), one(changed(func(i *request.Image) { i.TLSVerify = false }))},
		"store of the host": {
			skopeo, withImage(`"name": "q.io/x", "digest": "<D>", "containers-transport": "containers-storage", "storage-location": ""`),
			one(changed(func(i *request.Image) { i.Transport = "containers-storage" })),
		},
		"store elsewhere": {
			skopeo, withImage(`"name": "q.io/x", "digest": "<D>", "containers-transport": "containers-storage", "storage-location": "/a b:+]"`),
			one(changed(func(i *request.Image) { i.Transport, i.StorageLocation = "containers-storage", "/a b:+]" })),
		},
		"location ignored for docker": {
			skopeo, withImage(`"name": "q.io/x", "digest": "<D>", "storage-location": "relative"`), one(image),
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := request.Decode(c.source, []byte(expand(c.in)))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := fmt.Sprintf("%+v", *r), expand(fmt.Sprintf("%+v", c.want)); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// TestArgs decodes the arguments of a call by osbuild.
func TestArgs(t *testing.T) {
	for name, c := range map[string]struct{ method, args, want string }{
		"v129 and later":    {"download", `{"items": {"<A>": {}}, "options": {}, "cache": "/c", "output": null, "checksums": []}`, "download /c  <A>"},
		"copy":              {"copy", `{"items": {"<A>": {}}, "options": {}, "cache": "/c", "dst_cache": "/d"}`, "copy /c /d <A>"},
		"null options":      {"download", `{"items": {"<A>": {}}, "options": null, "cache": "/c"}`, "download /c  <A>"},
		"of some later one": {"download", `{"items": {"<A>": {}}, "cache": "/c", "new": {"a": [1]}}`, "download /c  <A>"},
		"no items":          {"download", `{"cache": "/c"}`, "give exactly one of items and digests"},
		"unknown in item":   {"download", `{"items": {"<A>": {"x": 1}}, "cache": "/c"}`, `items.<A>: unknown field "x"`},
		"args of a list":    {"download", `[]`, "the request must be a JSON object, got a list"},
		"relative cache":    {"copy", `{"items": {}, "cache": "c", "dst_cache": ""}`, "cache: must be an absolute path, got \"c\"\ndst_cache: is empty: give an absolute path"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := request.DecodeArgs(storage, c.method, []byte(expand(c.args)))
			var got string
			if err != nil {
				got = err.Error()
			} else {
				got = fmt.Sprintf("%s %s %s %s", r.Method, r.Cache, r.DstCache, r.Items[0].ID)
			}
			if want := expand(c.want); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestUnknownSource(t *testing.T) {
	_, err := request.Decode("org.osbuild.nothing", []byte(`{}`))
	if want := `compile schema of org.osbuild.nothing: no module is called "org.osbuild.nothing"`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
