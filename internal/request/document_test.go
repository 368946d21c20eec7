package request

import "testing"

const documentSchema = `{
  "type": "object", "additionalProperties": false, "required": ["digest"],
  "properties": {
    "digest": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
    "sizes": {"type": "array", "items": {"type": "integer", "minimum": 0}}
  }
}`

func TestDecodeDocument(t *testing.T) {
	const good = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	var v struct {
		Digest string
		Sizes  []int64
	}
	if err := DecodeDocument([]byte(documentSchema), []byte(`{"digest": "`+good+`", "sizes": [1, 2]}`), &v); err != nil || v.Digest != good || len(v.Sizes) != 2 {
		t.Errorf("got %+v, %v", v, err)
	}
	for in, want := range map[string]string{
		``:                                     "the file is empty: a JSON object is expected",
		`[]`:                                   "the file must be a JSON object, got a list",
		`{"digest": "` + good + `"} x`:         "line 1, column 87: something follows the file: one JSON object is expected",
		`{"digest": "x"}`:                      `digest: must be sha256: and 64 lower-case hexadecimal digits, got "x"`,
		`{"digest": "` + good + `", "foo": 1}`: `unknown field "foo"`,
		`{"sizes": [1, -2]}`:                   "field \"digest\" is missing\nsizes[1]: must be at least 0, got -2",
	} {
		if err := DecodeDocument([]byte(documentSchema), []byte(in), &v); err == nil || err.Error() != want {
			t.Errorf("%s\ngot  %v\nwant %s", in, err, want)
		}
	}
}
