package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// carry measures exporting the large image from a cache to one file, and importing it into another cache. Peers that read
// directories read the same files; crane and regctl support registries only.
func (b *bench) carry() error {
	ours, err := b.ourTool()
	if err != nil {
		return err
	}
	img := b.images[large]
	line := func(text string) string {
		return strings.NewReplacer("OURS", ours, "ID", img.ID, "REF", img.Ref+":latest", "IMAGE", "cache/org.osbuild.containers/"+img.ID+"/image").Replace(text)
	}
	fill := func() error {
		_, err := b.ask(b.request(filepath.Join(b.scratch(), "cache"), large))
		return err
	}
	bundle := func() error {
		if err := fill(); err != nil {
			return err
		}
		return b.sh(line("OURS export -o out.tar --cache cache ID && rm -rf cache"))
	}
	exports := []tool{{name: "**ours**", line: line("OURS export -o out.tar --cache cache ID"), prepare: fill}}
	imports := []tool{{name: "**ours**", line: line("OURS import out.tar --cache cache"), prepare: bundle}}
	for _, skopeo := range []string{"skopeo", "skopeo-new"} {
		copies := "TMPDIR=. " + skopeo + " copy -q "
		exports = append(exports, tool{name: skopeo, line: line(copies + "dir:IMAGE oci-archive:out.tar:big && sync -f ."), prepare: fill})
		imports = append(imports, tool{name: skopeo, line: copies + "oci-archive:out.tar dir:out && sync -f .", prepare: bundle})
	}
	exports = append(exports,
		tool{name: "crane", line: line("crane pull --insecure REF out.tar && sync -f ."), prepare: fill},
		tool{name: "regctl", line: line("REGCTL_CONFIG=regctl.json regctl image export REF out.tar && sync -f ."), prepare: fill})
	imports = append(imports, tool{name: "regctl", line: "regctl image import ocidir://layout:big out.tar && sync -f .", prepare: bundle})
	title := func(what string) string {
		return fmt.Sprintf("%s of one large image (%.0f MB)", what, float64(img.Bytes)/1e6)
	}
	if err := b.compare(title("export"), onPath(exports)); err != nil {
		return err
	}
	return b.compare(title("import"), onPath(imports))
}

// onPath drops tools that are not installed; ours stays. A tool has the name of its executable.
func onPath(tools []tool) []tool {
	found := tools[:1]
	for _, t := range tools[1:] {
		if _, err := exec.LookPath(t.name); err == nil {
			found = append(found, t)
		}
	}
	return found
}
