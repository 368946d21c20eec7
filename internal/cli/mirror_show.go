package cli

import (
	"fmt"
	"strings"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/mirror"
	"osbuild-containers/internal/progress"
)

// answer returns the output of mirror in JSON.
func (m *mirrorCommand) answer(place mirror.Place, res *mirror.Result, conf string) answer.Mirror {
	a := answer.Mirror{
		Destination: place.String(), DryRun: m.dryRun, Images: []answer.MirroredImage{}, Sent: sentAnswer(res.Sum), RegistriesConf: conf,
	}
	for _, i := range res.Images {
		j := answer.MirroredImage{
			Reference: i.Reference, Pinned: i.Digest, Destination: i.To, Platforms: orEmpty(i.Platforms), Sent: sentAnswer(i.Sum),
		}
		if i.Err != nil {
			j.Error = hint.Line(i.Err, hint.Flags)
		}
		a.Images = append(a.Images, j)
	}
	return a
}

func sentAnswer(s mirror.Sum) answer.Sent {
	return answer.Sent{Bytes: s.Sent, Mounted: s.Mounted, There: s.There}
}

// showPlan prints for each reference what would be sent.
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
