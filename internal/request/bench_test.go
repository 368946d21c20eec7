package request_test

import (
	"fmt"
	"strings"
	"testing"

	"osbuild-containers/internal/request"
)

// many returns a request for n images with different names.
func many(n int) []byte {
	var b strings.Builder
	b.WriteString(`{"items": {`)
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, `"sha256:%064x": {"image": {"name": "registry.example.com/team-%d/image-%d", "digest": "sha256:%064x", "tls-verify": true, "containers-transport": "docker"}}`, i*7919, i%100, i, i)
	}
	b.WriteString(`}, "options": {}, "cache": "/var/cache/osbuild/sources"}`)
	return []byte(b.String())
}

func BenchmarkDecode(b *testing.B) {
	raw := many(20_000)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := request.Decode("org.osbuild.skopeo", raw)
		if err != nil || len(r.Items) != 20_000 {
			b.Fatal(err)
		}
	}
}
