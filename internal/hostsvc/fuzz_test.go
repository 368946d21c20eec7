package hostsvc

import (
	"encoding/json"
	"errors"
	"testing"
)

// FuzzDecodeMethod checks that no message makes the decoder panic, that a refusal is an exception with a text, and that an
// accepted message is a call.
func FuzzDecodeMethod(f *testing.F) {
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := decodeMethod(raw)
		if err != nil {
			if e, ok := errors.AsType[*Exception](err); !ok || e.Name != "ProtocolError" || e.Value == "" {
				t.Fatalf("got %v (%T)", err, err)
			}
			return
		}
		if m.Name == "" || !json.Valid(m.Args) {
			t.Errorf("name %q, args %q", m.Name, m.Args)
		}
	})
}
