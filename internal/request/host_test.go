package request_test

import (
	"strings"
	"testing"

	"osbuild-containers/internal/request"
)

func TestCheckHost(t *testing.T) {
	for _, name := range []string{"app", "app:99999", "app:1/x", "host:1/x", "host:65535/x:99999", "127.0.0.1:5000/x", "a/b:99999", ""} {
		if err := request.CheckHost(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for name, want := range map[string]string{
		"[::1]:5000/x":                  "by an IPv6 address",
		"[fe80::1]/x":                   "by an IPv6 address",
		"[::1]:5000/x:1":                "by an IPv6 address",
		"localhost:99999/x":             "with the port 99999, want one from 1 to 65535",
		"host:0/x":                      "with the port 0,",
		"host:65536/x":                  "with the port 65536,",
		"host:00000000/x":               "with the port 00000000,",
		"host:9999999999999999999999/x": "with the port 9999999999999999999999,",
	} {
		if err := request.CheckHost(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", name, err, want)
		}
	}
}
