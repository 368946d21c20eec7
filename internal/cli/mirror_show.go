package cli

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/mirror"
	"osbuild-containers/internal/progress"
)

// What mirror answers in JSON; sizes are bytes.
type (
	mirrorAnswer struct {
		Version        int           `json:"version"`
		Destination    string        `json:"destination"`
		Images         []mirrorImage `json:"images"`
		RegistriesConf string        `json:"registries-conf"`
		mirrorSum
	}
	mirrorImage struct {
		Reference   string        `json:"reference"`
		Destination string        `json:"destination"`
		Digest      digest.Digest `json:"digest"` // of the manifest list, or the manifest where there is none
		Platforms   []string      `json:"platforms"`
		mirrorSum
		Error string `json:"error,omitempty"`
	}
	mirrorSum struct {
		Sent    int64 `json:"sent"`
		Mounted int64 `json:"mounted"`
		There   int64 `json:"there"`
	}
)

func mirrorAnswerOf(place mirror.Place, res *mirror.Result, conf string) mirrorAnswer {
	a := mirrorAnswer{Version: 1, Destination: place.String(), Images: []mirrorImage{}, RegistriesConf: conf, mirrorSum: mirrorSum(res.Sum)}
	for _, i := range res.Images {
		j := mirrorImage{Reference: i.Reference, Destination: i.To, Digest: i.Digest, Platforms: i.Platforms, mirrorSum: mirrorSum(i.Sum)}
		if i.Err != nil {
			j.Error = hint.Line(i.Err, hint.Flags)
		}
		a.Images = append(a.Images, j)
	}
	return a
}

// showPlan says for each reference what would be sent.
func (m *mirrorCommand) showPlan(res *mirror.Result) error {
	var b strings.Builder
	for _, i := range res.Images {
		b.WriteString(cutStart(progress.Clean(i.Reference), width) + "\n")
		b.WriteString(field("  to", 12, i.To))
		if i.Err != nil {
			for n, line := range strings.Split(hint.Line(i.Err, hint.Flags), "\n") {
				b.WriteString(field([]string{"  failed", ""}[min(n, 1)], 12, line))
			}
			continue
		}
		for _, p := range []struct {
			bytes int64
			what  string
		}{{i.Sent, "send"}, {i.Mounted, "mount"}, {i.There, "there"}} {
			if p.bytes > 0 {
				fmt.Fprintf(&b, "  %-8s  %10s\n", p.what, progress.Bytes(p.bytes))
			}
		}
	}
	return m.print("%sin all: %s to send, %s to mount, %s there\n", b.String(),
		progress.Bytes(res.Sent), progress.Bytes(res.Mounted), progress.Bytes(res.There))
}
