package cli

import (
	"slices"
	"unicode/utf8"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/bundle"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/progress"
)

// exportAnswer returns the output of export in JSON.
func exportAnswer(o bundle.Output, b *bundle.Bundle, dryRun bool) answer.Export {
	a := answer.Export{
		Output: o.Path, Format: o.Format, DryRun: dryRun, Images: []answer.Image{},
		Lists: orEmpty(b.Lists), Written: sumAnswer(b.Blobs), LeftOut: sumAnswer(b.Left),
	}
	for n := range b.Images {
		i := &b.Images[n]
		a.Images = append(a.Images, answer.Image{ID: i.ID, Manifest: i.Manifest, Platform: i.Platform.String(), Names: orEmpty(i.Names)})
	}
	return a
}

func sumAnswer(s bundle.Sum) answer.Blobs { return answer.Blobs{Count: s.Blobs, Bytes: s.Bytes} }

// showExported prints a line for each image, and one or two for all.
func (a *app) showExported(o bundle.Output, b *bundle.Bundle, dryRun bool) error {
	columns := []column{{name: "IMAGE ID"}, {name: "PLATFORM", most: 24}, {name: "NAME"}}
	var rows [][]string
	for n := range b.Images {
		i := &b.Images[n]
		for _, name := range carriedNames(i.Names) {
			rows = append(rows, []string{short(i.ID), i.Platform.String(), name})
		}
	}
	if err := a.lines(columns, rows); err != nil {
		return err
	}
	text := progress.Count(len(b.Images), "image")
	if len(b.Lists) > 0 {
		text += ", " + progress.Count(len(b.Lists), "list")
	}
	text += ", " + progress.Count(b.Blobs.Blobs, "blob") + " of " + progress.Bytes(b.Blobs.Bytes)
	if dryRun {
		text += " to write"
	}
	if err := a.print("%s: %s\n", cutStart(progress.Clean(o.Path), width-2-len(text)), text); err != nil || b.Left.Blobs == 0 {
		return err
	}
	return a.print("left out: %s of %s that the other side has\n", progress.Count(b.Left.Blobs, "blob"), progress.Bytes(b.Left.Bytes))
}

// carriedNames returns names, or a placeholder if there are none.
func carriedNames(names []string) []string {
	if len(names) == 0 {
		return []string{cacheinfo.NoName}
	}
	return slices.Sorted(slices.Values(names))
}

// lines prints a table whose last column is cut at its beginning to fit.
func (a *app) lines(columns []column, rows [][]string) error {
	last := len(columns) - 1
	left := 2 * last
	for n := range last {
		most := len(columns[n].name)
		for _, row := range rows {
			if row[n] = progress.Clean(row[n]); columns[n].most > 0 {
				row[n] = cutEnd(row[n], columns[n].most)
			}
			most = max(most, utf8.RuneCountInString(row[n]))
		}
		left += most
	}
	for _, row := range rows {
		row[last] = cutStart(progress.Clean(row[last]), width-left)
	}
	for _, line := range align(columns, rows) {
		if err := a.print("%s\n", line); err != nil {
			return err
		}
	}
	return nil
}
