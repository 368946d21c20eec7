package registry

import (
	"strings"
	"testing"
)

func TestARegistryThatEndsIsReportedWithItsLog(t *testing.T) {
	bin, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	_, err = startProcess(bin, t.TempDir(), map[string]any{"version": "0.1", "storage": map[string]any{"nonsense": nil}})
	if err == nil || !strings.Contains(err.Error(), "registry ended") || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("got %v", err)
	}
}

func TestTheEnvironmentOfClientsIsNotTheRegistrys(t *testing.T) {
	t.Setenv("REGISTRY_AUTH_FILE", "/no/such/file")
	Start(t)
}
