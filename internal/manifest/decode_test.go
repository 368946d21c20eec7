package manifest

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// The faster decoder accepts what encoding/json accepts, and makes the same of it. Fields in another case, which only
// encoding/json takes for ours, are refused in both cases.
func FuzzDecode(f *testing.F) {
	for _, raw := range []string{
		`{"schemaVersion":2,"config":{"digest":"sha256:00","size":1},"layers":[]}`,
		`{"layers":null,"config":null,"fsLayers":null,"mediaType":null}`,
		`{"manifests":[{"digest":"a","size":-0,"platform":{"os":"linux","os.features":["x"]}},null,{}]}`,
		`{"x":1,"x":{"x":[1,{"x":2}]},"annotations":{"a":"1","a":"2"}}`,
		`{"config":{"size":1},"config":{"digest":"b"}}`,
		`{"layers":[{"urls":["a",null]}],"layers":[{}]}`,
		`{"Layers":[{"SIZE":1}]}`,
		`{"layer\u0073":[],"mediaType":"\ud800 \uDFFF"}`,
		"{\"mediaType\":\"\xff\",\"\xff\":1}",
		`{"schemaVersion":1e0}`, `{"schemaVersion":2.0}`, `{"schemaVersion":"2"}`, `{"config":{"size":9223372036854775808}}`,
		`{"fsLayers": [ 1 , "<" ] }`, `{} x`, `{"a":1,}`, `[]`, `null`, ``, "\ufeff{}",
		strings.Repeat(`{"a":`, 10_001) + "1" + strings.Repeat("}", 10_001),
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var want document
		wantErr := json.Unmarshal(raw, &want)
		got, err := decode(raw)
		if json.Valid(raw) && checkNames(raw) != nil {
			return
		}
		if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got, &want) {
			t.Errorf("%+v, %v; want %+v, %v", got, err, want, wantErr)
		}
	})
}
