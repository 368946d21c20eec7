package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/fetch"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// runPlan prints what fetch would do.
func (f *fetchCommand) runPlan(ctx context.Context, lists, images *request.Request) error {
	log := f.env.Lines()
	plan, failed, err := planFetch(ctx, lists, images, log)
	log.Close()
	if err != nil {
		return err
	}
	if f.flags.json {
		err = f.json(plan)
	} else {
		err = f.print("%s", planText(&plan))
	}
	if err == nil && failed {
		err = errors.New("not all can be fetched as it is now")
	}
	return err
}

// planFetch returns what fetching lists and images would do, and whether some of them would fail.
func planFetch(ctx context.Context, lists, images *request.Request, log *progress.Reporter) (plan answer.FetchPlan, failed bool, err error) {
	plan = answer.FetchPlan{Cache: images.Cache, Items: []answer.PlannedItem{}}
	if len(lists.Items) > 0 {
		plan.Items = append(plan.Items, planned("list", fetch.PlanLists(ctx, lists, log))...)
	}
	plan.Items = append(plan.Items, planned("image", fetch.PlanImages(ctx, images, log))...)
	for _, p := range plan.Items {
		plan.Download = manifest.AddSizes(plan.Download, p.Download)
		plan.Reuse = manifest.AddSizes(plan.Reuse, p.Reuse)
		failed = failed || p.Error != ""
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return plan, failed, err
}

// planned returns the plan for items of a kind.
func planned(kind string, plans []fetch.Planned) []answer.PlannedItem {
	all := make([]answer.PlannedItem, 0, len(plans))
	for n := range plans {
		p := &plans[n]
		i := answer.PlannedItem{
			Item: answer.Item{Kind: kind, ID: p.Item.ID}, Reference: p.Item.Image.Name, Pinned: cmp.Or(p.Item.Image.Digest, p.Item.ID),
			Platform: p.Item.Image.Platform, Cached: p.Cached, From: p.From, Size: p.Size,
			Download: p.Download(), Reuse: p.Reused(), Blobs: []answer.PlannedBlob{},
		}
		if p.Err != nil {
			i.Error = hint.Line(p.Err, hint.Flags)
			i.Download, i.Reuse, i.Size = 0, 0, 0
		}
		for _, b := range p.Blobs {
			i.Blobs = append(i.Blobs, answer.PlannedBlob{Digest: b.Digest, Size: b.Size, Way: string(b.Way), Have: b.Have})
		}
		all = append(all, i)
	}
	return all
}

// planText formats the plan: what would be downloaded for each item, what not, and why not.
func planText(p *answer.FetchPlan) string {
	if len(p.Items) == 0 {
		return "nothing to fetch\n"
	}
	var b strings.Builder
	named := map[string]int{}
	for _, i := range p.Items {
		if i.Platform != "" {
			named[i.Reference]++
		}
	}
	for _, i := range p.Items {
		tail := "  " + i.Kind + " " + short(i.ID)
		if named[i.Reference] > 1 && i.Platform != "" {
			tail = " " + strings.TrimPrefix(i.Platform, "linux/") + tail
		}
		b.WriteString(cutStart(progress.Clean(i.Reference), width-len(tail)) + tail + "\n")
		b.WriteString(itemText(&i))
	}
	return b.String() + fmt.Sprintf("in all: %s to download, %s to reuse\n", progress.Bytes(p.Download), progress.Bytes(p.Reuse))
}

func itemText(i *answer.PlannedItem) string {
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
			fmt.Fprintf(&b, "  %-8s  %10s  %s %s\n", what, progress.Bytes(some.bytes), progress.Count(some.n, "blob"), text)
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
		sum[fetch.Way(blob.Way)] = sum[fetch.Way(blob.Way)].and(blob.Size - blob.Have)
		if blob.Have > 0 {
			begun = begun.and(blob.Have)
		}
	}
	line("download", sum[fetch.Download], "from "+cutStart(i.From, width-38))
	if unsized > 0 {
		fmt.Fprintf(&b, "  %-8s  %10s  %s from %s: of schema 1\n", "download", "?", progress.Count(unsized, "blob"), cutStart(i.From, width-50))
	}
	line("reuse", begun, "partly downloaded before")
	line("reuse", sum[fetch.InPool], "in the cache")
	line("reuse", sum[fetch.InImage], "of the image that has its place")
	line("reuse", sum[fetch.Earlier], "that an image above brings")
	return b.String()
}

// blobs is a number of blobs and their size.
type blobs struct {
	n     int
	bytes int64
}

func (b blobs) and(bytes int64) blobs { return blobs{b.n + 1, b.bytes + bytes} }
