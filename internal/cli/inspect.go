package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/bundle"
	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/progress"
)

func (a *app) inspectCommand() *cobra.Command {
	var arch []string
	cmd := &cobra.Command{
		Use:     "inspect NAME[:TAG] | ID",
		Short:   "Show the details of an image in a cache",
		GroupID: groupCache,
		Long: `inspect shows the config of an image, its layers and the images that share them,
its origins and its signatures. NAME and ID are as for list, and must match one
image; of several with the same name and platform, the newest is shown. --json
includes the whole config.`,
		Example: `  osbuild-containers inspect fedora-bootc:42
  osbuild-containers inspect 12dcd147b9ee --json`,
		Args: arguments(1, 1, "one image"),
		RunE: func(_ *cobra.Command, args []string) error { return a.inspect(args[0], arch) },
	}
	cmd.Flags().StringSliceVar(&arch, "arch", nil, "`ARCH`, if a name has several")
	return cmd
}

// inspect is the command.
func (a *app) inspect(what string, arch []string) error {
	dir, err := a.cacheDir()
	if err != nil {
		return err
	}
	platforms, err := parsePlatforms(arch)
	if err != nil {
		return refused(err)
	}
	if err := a.noCache(dir); err != nil {
		return err
	}
	c := cache.Open(dir)
	images, err := a.scan(dir)
	if err != nil {
		return err
	}
	i, err := cacheinfo.FindOne(ofPlatforms(images, platforms), what)
	if errors.Is(err, cacheinfo.ErrNotFound) && isFullName(what) && !strings.HasPrefix(what, "containers-storage:") {
		name := strings.TrimPrefix(what, "docker://")
		return hint.Add(fmt.Errorf("no image in the cache is called %q", what),
			"see what a registry has: %s pin %s --dry-run, or skopeo inspect docker://%[2]s", Name, name)
	}
	if err != nil {
		return err
	}
	d, err := cacheinfo.Inspect(c, i)
	if err != nil {
		return err
	}
	if a.flags.json {
		return a.json(inspectAnswer(dir, d))
	}
	return a.print("%s", detailText(d, images))
}

// label is the width of the label column. The rest of a line fits a digest.
const label = 9

func detailText(d *cacheinfo.Detail, images []*cacheinfo.Image) string {
	var b strings.Builder
	say := func(name string, values ...string) {
		if len(values) > 0 && values[0] != "" {
			b.WriteString(field(name, label, values...))
		}
	}
	say("id", d.ID.String())
	say("manifest", d.Manifest.String())
	say("type", d.MediaType)
	say("list", d.List.String())
	say("schema 1", d.Schema1.String())
	say("platform", d.Platform.String())
	say("created", moment(d.Created))
	say("from", originTexts(d.Image)...)
	say("size", fmt.Sprintf("%s, %s of it in no other image", progress.Bytes(d.Size), progress.Bytes(d.Unshared)))
	say("signed", signatureTexts(d.Signatures)...)
	say("damaged", d.Problem)

	run := d.Config.Run
	say("author", d.Config.Author)
	say("user", run.User)
	say("entry", words(run.Entrypoint))
	say("cmd", words(run.Cmd))
	say("env", run.Env...)
	say("workdir", run.WorkingDir)
	say("ports", strings.Join(slices.Sorted(maps.Keys(run.ExposedPorts)), " "))
	say("volumes", slices.Sorted(maps.Keys(run.Volumes))...)
	say("stop", run.StopSignal)
	say("labels", labelTexts(run.Labels)...)

	b.WriteString(layersText(d, images))
	return b.String()
}

// originTexts describes the origins of an image, with fetch times.
func originTexts(i *cacheinfo.Image) []string {
	if len(i.Origins) == 0 {
		return []string{"(not recorded)", "there since " + moment(i.Fetched)}
	}
	var lines []string
	for _, o := range i.Origins {
		if bundle.IsFormat(o.Transport) {
			lines = append(lines, importTexts(o)...)
			continue
		}
		name := o.Name
		if o.Transport == cache.Tagged {
			lines = append(lines, name, "given with tag")
			continue
		}
		if o.Transport != "" {
			name = o.Transport + ":" + name
		}
		lines = append(lines, name, cmp.Or(o.Pinned, o.Digest).String())
		if o.Fetched.IsZero() {
			lines = append(lines, "requested when it was cached already")
			continue
		}
		lines = append(lines, "fetched "+moment(o.Fetched))
		if o.From != "" {
			lines = append(lines, "from the mirror "+o.From)
		}
	}
	return lines
}

// importTexts describes the file or directory that an image was imported from.
func importTexts(o cache.Origin) []string {
	lines := []string{o.Name, cmp.Or(o.Pinned, o.Digest).String()}
	if o.Fetched.IsZero() {
		lines = append(lines, "imported when it was there already")
	} else {
		lines = append(lines, "imported "+moment(o.Fetched))
	}
	return append(lines, "from "+o.Transport+":"+o.From)
}

func signatureTexts(sigs []cacheinfo.Signature) []string {
	lines := make([]string, 0, len(sigs))
	for _, s := range sigs {
		text := s.Kind + ", " + progress.Bytes(int64(s.Bytes))
		if s.Identity != "" {
			text += ", says that it is for " + s.Identity
		}
		lines = append(lines, text)
	}
	return lines
}

// words joins the words of a command, quoted if necessary.
func words(all []string) string {
	quoted := make([]string, len(all))
	for n, w := range all {
		if quoted[n] = w; w == "" || strings.ContainsAny(w, " \t\n\"'\\") {
			quoted[n] = strconv.Quote(w)
		}
	}
	return strings.Join(quoted, " ")
}

func labelTexts(labels map[string]string) []string {
	lines := make([]string, 0, len(labels))
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		lines = append(lines, key+"="+labels[key])
	}
	return lines
}

// shownSharers is how many images that share a layer are listed.
const shownSharers = 3

// layersText lists the layers, lowest first, followed by the names of the images that share them.
func layersText(d *cacheinfo.Detail, images []*cacheinfo.Image) string {
	if len(d.Layers) == 0 {
		return "layers   none\n"
	}
	rows := make([][]string, 0, len(d.Layers))
	named := map[digest.Digest]bool{}
	for n, l := range d.Layers {
		shared := slices.DeleteFunc(slices.Clone(l.Images), func(id digest.Digest) bool { return id == d.ID })
		rows = append(rows, []string{strconv.Itoa(n + 1), short(l.Digest), progress.Bytes(l.Size), sharers(shared, named)})
	}
	columns := []column{{name: "#", right: true}, {name: "LAYER"}, {name: "SIZE", right: true}, {name: "SHARED WITH"}}
	var b strings.Builder
	b.WriteString("\n" + strings.Join(align(columns, rows), "\n") + "\n")
	if len(named) > 0 {
		b.WriteString("\n")
	}
	for _, i := range images {
		if named[i.ID] {
			b.WriteString(short(i.ID) + "  " + cutStart(i.Title(), width-14) + "\n")
		}
	}
	return b.String()
}

// sharers lists the first of the images, and records in named which ones.
func sharers(ids []digest.Digest, named map[digest.Digest]bool) string {
	texts := make([]string, 0, shownSharers+1)
	for n, id := range ids {
		if n == shownSharers {
			texts = append(texts, fmt.Sprintf("+%d", len(ids)-n))
			break
		}
		named[id] = true
		texts = append(texts, short(id))
	}
	return strings.Join(texts, " ")
}

// inspectAnswer returns the output of inspect in JSON.
func inspectAnswer(dir string, d *cacheinfo.Detail) answer.Inspect {
	a := answer.Inspect{
		Cache: dir, CachedImage: cachedImage(d.Image), MediaType: d.MediaType, Path: d.Path,
		Layers: []answer.CachedLayer{}, Signatures: []answer.Signature{},
	}
	if json.Valid(d.Config.Raw) {
		a.Config = d.Config.Raw
	}
	for _, l := range d.Layers {
		a.Layers = append(a.Layers, answer.CachedLayer{
			Layer: answer.Layer{Digest: l.Digest, Size: l.Size}, MediaType: l.MediaType,
			DiffID: l.DiffID, CreatedBy: l.CreatedBy, Images: orEmpty(l.Images), Missing: l.Missing,
		})
	}
	for _, sig := range d.Signatures {
		a.Signatures = append(a.Signatures, answer.Signature{Kind: sig.Kind, Size: int64(sig.Bytes), Identity: sig.Identity})
	}
	return a
}
