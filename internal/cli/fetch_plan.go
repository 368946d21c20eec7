package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/fetch"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// runPlan says what fetch would do.
func (f *fetchCommand) runPlan(ctx context.Context, lists, images *request.Request) error {
	log := f.env.Lines()
	all := []planJSON{}
	if len(lists.Items) > 0 {
		all = append(all, planned("list", fetch.PlanLists(ctx, lists, log))...)
	}
	all = append(all, planned("image", fetch.PlanImages(ctx, images, log))...)
	log.Close()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	answer := planAnswer{Version: 1, Cache: images.Cache, Items: all}
	failed := false
	for _, p := range all {
		answer.Download = manifest.AddSizes(answer.Download, p.Download)
		answer.Reuse = manifest.AddSizes(answer.Reuse, p.Reuse)
		failed = failed || p.Error != ""
	}
	var err error
	if f.flags.json {
		err = f.json(answer)
	} else {
		err = f.print("%s", answer.text())
	}
	if err == nil && failed {
		err = errors.New("not all can be fetched as it is now")
	}
	return err
}

// What --plan answers in JSON; sizes are bytes.
type (
	planAnswer struct {
		Version  int        `json:"version"`
		Cache    string     `json:"cache"`
		Items    []planJSON `json:"items"`
		Download int64      `json:"download"`
		Reuse    int64      `json:"reuse"`
	}
	planJSON struct {
		Kind     string        `json:"kind"` // image or list
		Name     string        `json:"name"`
		Digest   digest.Digest `json:"digest"` // what is pinned
		ID       digest.Digest `json:"id"`
		Cached   bool          `json:"cached"`
		From     string        `json:"from,omitempty"` // repository, a mirror's or the registry's, or store
		Size     int64         `json:"size"`
		Download int64         `json:"download"`
		Reuse    int64         `json:"reuse"`
		Blobs    []planBlob    `json:"blobs"`
		Error    string        `json:"error,omitempty"`

		platform string // of an image, where it is known
	}
	planBlob struct {
		Digest digest.Digest `json:"digest"`
		Size   int64         `json:"size"` // -1: unknown, of a layer of schema 1
		Way    fetch.Way     `json:"way"`
		Have   int64         `json:"have"` // of a download: what an earlier one left
	}
)

func planned(kind string, plans []fetch.Planned) []planJSON {
	all := make([]planJSON, 0, len(plans))
	for n := range plans {
		p := &plans[n]
		j := planJSON{
			Kind: kind, Name: p.Item.Image.Name, Digest: p.Item.Image.Digest, ID: p.Item.ID, Cached: p.Cached,
			From: p.From, Size: p.Size, Download: p.Download(), Reuse: p.Reused(), Blobs: []planBlob{},
			platform: p.Item.Image.Platform,
		}
		if j.Digest == "" {
			j.Digest = j.ID
		}
		if p.Err != nil {
			j.Error = hint.Line(p.Err, hint.Flags)
			j.Download, j.Reuse, j.Size = 0, 0, 0
		}
		for _, b := range p.Blobs {
			j.Blobs = append(j.Blobs, planBlob{b.Digest, b.Size, b.Way, b.Have})
		}
		all = append(all, j)
	}
	return all
}

// text is the plan for people: for each item what would be downloaded, and what not, and why not.
func (p *planAnswer) text() string {
	if len(p.Items) == 0 {
		return "nothing to fetch\n"
	}
	var b strings.Builder
	named := map[string]int{}
	for _, i := range p.Items {
		if i.platform != "" {
			named[i.Name]++
		}
	}
	for _, i := range p.Items {
		tail := "  " + i.Kind + " " + short(i.ID)
		if named[i.Name] > 1 && i.platform != "" {
			tail = " " + strings.TrimPrefix(i.platform, "linux/") + tail
		}
		b.WriteString(cutStart(progress.Clean(i.Name), width-len(tail)) + tail + "\n")
		b.WriteString(i.text())
	}
	return b.String() + fmt.Sprintf("in all: %s to download, %s to reuse\n", progress.Bytes(p.Download), progress.Bytes(p.Reuse))
}

func (i *planJSON) text() string {
	switch {
	case i.Error != "":
		var b strings.Builder
		for n, line := range strings.Split(i.Error, "\n") {
			b.WriteString(field([]string{"  failed", ""}[min(n, 1)], 12, line))
		}
		return b.String()
	case i.Cached:
		return "  cached\n"
	case i.Kind == "list":
		return fmt.Sprintf("  download  %10s  from %s\n", progress.Bytes(i.Download), cutStart(i.From, width-29))
	}
	var b strings.Builder
	line := func(what string, some blobs, text string) {
		if some.n > 0 {
			fmt.Fprintf(&b, "  %-8s  %10s  %s %s\n", what, progress.Bytes(some.bytes), count(some.n, "blob"), text)
		}
	}
	sum := map[fetch.Way]blobs{}
	var begun blobs
	unsized := 0
	for _, blob := range i.Blobs {
		if blob.Size < 0 {
			unsized++
			continue
		}
		sum[blob.Way] = sum[blob.Way].and(blob.Size - blob.Have)
		if blob.Have > 0 {
			begun = begun.and(blob.Have)
		}
	}
	line("download", sum[fetch.Download], "from "+cutStart(i.From, width-38))
	if unsized > 0 {
		fmt.Fprintf(&b, "  %-8s  %10s  %s from %s: of schema 1\n", "download", "?", count(unsized, "blob"), cutStart(i.From, width-50))
	}
	line("reuse", begun, "partly downloaded before")
	line("reuse", sum[fetch.InPool], "in the cache")
	line("reuse", sum[fetch.InImage], "of the image that has its place")
	line("reuse", sum[fetch.Earlier], "that an image above brings")
	return b.String()
}

// blobs are some blobs.
type blobs struct {
	n     int
	bytes int64
}

func (b blobs) and(bytes int64) blobs { return blobs{b.n + 1, b.bytes + bytes} }
