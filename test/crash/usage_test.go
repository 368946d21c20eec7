package crash_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	decode "osbuild-containers/internal/request"
)

// TestUsageShowsInputThatIsAccepted decodes the example in each module's --help.
func TestUsageShowsInputThatIsAccepted(t *testing.T) {
	for kind, accept := range map[string]func(name string, example []byte) (bool, error){
		"sources": func(name string, example []byte) (bool, error) {
			r, err := decode.Decode(name, example)
			return err == nil && len(r.Items) == 1, err
		},
		"stages": func(name string, example []byte) (bool, error) {
			a, err := decode.DecodeArguments(name, example)
			return err == nil && a.Tree == "/some/tree" && len(a.Inputs) == 1, err
		},
	} {
		dirs, err := filepath.Glob(filepath.Join("..", "..", kind, "org.osbuild.*"))
		if err != nil || len(dirs) == 0 {
			t.Fatalf("%s: got %d, %v", kind, len(dirs), err)
		}
		for _, dir := range dirs {
			name := filepath.Base(dir)
			usage, err := exec.CommandContext(t.Context(), filepath.Join("..", "..", "build", "libdir", kind, name), "--help").Output()
			if err != nil || !strings.HasPrefix(string(usage), "usage: "+name+" < ") {
				t.Errorf("%s: got %s, %v", name, usage, err)
			}
			_, text, _ := strings.Cut(string(usage), ".json:\n")
			var example json.RawMessage
			if err := json.NewDecoder(strings.NewReader(text)).Decode(&example); err != nil {
				t.Errorf("%s: no example in %s: %v", name, usage, err)
			} else if ok, err := accept(name, example); !ok {
				t.Errorf("%s: %s: %v", name, example, err)
			}
		}
	}
}
