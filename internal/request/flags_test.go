package request_test

import (
	"testing"

	"osbuild-containers/internal/request"
)

func TestAsFlags(t *testing.T) {
	for hint, want := range map[string]string{
		"check the network, or raise stall-timeout and timeout; it is kept": "check the network, or raise --stall-timeout and --timeout; it is kept",
		"raise header-timeout, or retries":                                  "raise --header-timeout, or --retries",
		"use tls-verify: false or mark it":                                  "use --tls-verify=false or mark it",
		"raise --retries and --timeout":                                     "raise --retries and --timeout",
		"timeouts and a retry are not options":                              "timeouts and a retry are not options",
	} {
		if got := request.AsFlags(hint); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := (request.Options{}).Spell(hint); got != hint {
			t.Errorf("a request: got %q, want %q", got, hint)
		}
	}
}
