package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/verify"
)

func (a *app) verifyCommand() *cobra.Command {
	var repair bool
	cmd := &cobra.Command{
		Use:     "verify [NAME[:TAG] | ID]…",
		Short:   "Verify the contents of a cache, and repair them",
		GroupID: groupCache,
		Long: `verify reads images and compares every byte with its digest: manifests, manifest
lists, configs, layers and signatures. NAME and ID are as for list. By default
it verifies all images, unused blobs and manifest lists. It reports damage and
ends with status 5.

With --repair, damaged files are replaced by intact copies in the cache, or
fetched again. To fetch an image, its origin must be recorded, as by fetch and
the sources. Damage that cannot be repaired is reported.`,
		Example: `  osbuild-containers verify
  osbuild-containers verify fedora-bootc:42 --repair`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.verify(cmd.Context(), args, repair) },
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "replace damaged files")
	return cmd
}

// verify is the command.
func (a *app) verify(ctx context.Context, args []string, repair bool) error {
	dir, err := a.cacheDir()
	if err != nil {
		return err
	}
	if err := a.noCache(dir); err != nil {
		return err
	}
	c := a.openCache(dir)
	all, err := cacheinfo.Scan(c)
	if err != nil {
		return err
	}
	images, err := chosenOf(cacheinfo.Find, all, args)
	if err != nil {
		return err
	}
	var bars *progress.Reporter
	if a.env.StderrIsTerminal && !a.env.Quiet {
		bars = progress.NewBars(a.env.Stderr)
	}
	v, err := verify.Verify(ctx, c, images, len(args) == 0, bars)
	if err != nil {
		return err
	}
	r := &verify.Repaired{}
	for _, d := range v.Damaged {
		r.Left = append(r.Left, verify.Left{Damage: d})
	}
	if repair && len(v.Damaged) > 0 {
		if r, err = a.repair(ctx, dir, all, v.Damaged); err != nil {
			return err
		}
	}
	if a.flags.json {
		err = a.json(verifyAnswer(dir, v, r))
	} else if v.Images+v.Files == 0 && isCacheOrEmpty(dir) {
		a.noteCache(dir, 0)
	} else if v.Images+v.Files > 0 && (!a.env.Quiet || len(r.Left) > 0) {
		err = a.print("%s", verifyText(v, r))
	}
	if err == nil && v.Images+v.Files == 0 && !isCacheOrEmpty(dir) {
		return fmt.Errorf("%s is not a cache: nothing was verified", dir)
	}
	if err == nil && len(r.Left) > 0 && !repair && !a.flags.json {
		a.env.Lines().Note("repair it with --repair")
	}
	if err == nil && len(r.Left) > 0 {
		err = &statusError{status: exitDamaged}
	}
	return err
}

func (a *app) repair(ctx context.Context, dir string, all []*cacheinfo.Image, damaged []verify.Damage) (*verify.Repaired, error) {
	log := a.env.Log()
	defer log.Close()
	r := &verify.Repairer{Dir: dir, Options: a.flags.options, Access: a.flags.access(), Log: log}
	done, err := r.Repair(ctx, all, damaged)
	if err != nil && ctx.Err() != nil {
		err = interrupted(ctx, r.Fetched)
	}
	return done, err
}

// verifyText formats a block for each image or other file with damage, and a line for all.
func verifyText(v *verify.Verified, r *verify.Repaired) string {
	var b strings.Builder
	var head string
	say := func(state string, d verify.Damage, why error) {
		if this := state + d.Title + string(d.Image); this != head {
			if head != "" {
				b.WriteByte('\n')
			}
			head = this
			b.WriteString(field(state, label, d.Title))
			if d.Image != "" {
				b.WriteString(field("id", label, d.Image.String()))
			}
		}
		b.WriteString(field(string(d.What), label, d.Digest.String()))
		b.WriteString(field("got", label, d.Got))
		if why != nil {
			b.WriteString(field("still", label, strings.Split(hint.Line(why, hint.Flags), "\n")...))
		}
	}
	for _, d := range r.Mended {
		say("repaired", d, nil)
	}
	for _, d := range r.Left {
		say("damaged", d.Damage, d.Why)
	}
	if head != "" {
		b.WriteByte('\n')
	}
	if n := len(v.Unvouched); n > 0 {
		b.WriteString(field("note", label, "nothing is recorded that vouches for the manifest of "+progress.Count(n, "image")+
			": what it names was verified, and that it is of the image"))
	}
	if v.Replaced > 0 {
		b.WriteString(field("note", label, "replaced each time while it was read, and so not verified: "+progress.Count(v.Replaced, "image")))
	}
	read := fmt.Sprintf("%s, %s, %s read", progress.Count(v.Images, "image"), progress.Count(v.Files, "file"), progress.Bytes(v.Bytes))
	switch {
	case len(r.Left) > 0 && len(r.Mended) > 0:
		fmt.Fprintf(&b, "%d repaired, %d damaged: %s\n", len(r.Mended), len(r.Left), read)
	case len(r.Left) > 0:
		fmt.Fprintf(&b, "%d damaged: %s\n", len(r.Left), read)
	case len(r.Mended) > 0:
		fmt.Fprintf(&b, "%d repaired, all is well: %s\n", len(r.Mended), read)
	default:
		fmt.Fprintf(&b, "all is well: %s\n", read)
	}
	return b.String()
}

// verifyAnswer returns the output of verify in JSON.
func verifyAnswer(dir string, v *verify.Verified, r *verify.Repaired) answer.Verify {
	a := answer.Verify{
		Cache: dir, Images: v.Images, Files: v.Files, Bytes: v.Bytes,
		Damaged: []answer.Damage{}, Repaired: []answer.Damage{}, Unvouched: orEmpty(v.Unvouched), Replaced: v.Replaced,
	}
	for _, d := range r.Left {
		a.Damaged = append(a.Damaged, damageAnswer(d.Damage, d.Why))
	}
	for _, d := range r.Mended {
		a.Repaired = append(a.Repaired, damageAnswer(d, nil))
	}
	return a
}

func damageAnswer(d verify.Damage, why error) answer.Damage {
	a := answer.Damage{ID: d.Image, Title: d.Title, Part: string(d.What), Digest: d.Digest, Path: d.Path, Got: d.Got}
	if why != nil {
		a.Error = hint.Line(why, hint.Flags)
	}
	return a
}
