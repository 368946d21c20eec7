package verify

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/fetch"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/request"
)

// fetch fetches the images and lists that are still damaged. It returns the errors of those it could not fetch.
func (r *Repairer) fetch(ctx context.Context, c *cache.Cache, all, broken []*cacheinfo.Image, damaged []Damage) (why map[digest.Digest]error, err error) {
	why = map[digest.Digest]error{}
	v, err := Verify(ctx, c, broken, false, nil)
	if err != nil {
		return nil, err
	}
	origins := map[digest.Digest][]cache.Origin{}
	for _, i := range broken {
		if !slices.ContainsFunc(v.Damaged, func(d Damage) bool { return d.Image == i.ID }) {
			continue
		}
		origins[i.ID] = slices.DeleteFunc(usable(i, v.Damaged), func(o cache.Origin) bool {
			_, err := request.New(r.Dir, []request.Item{r.item(i, o)}, r.Options)
			return err != nil // the record is damaged, too
		})
		why[i.ID] = notFetched(i)
	}
	for try := 0; ; try++ { // first recorded place of each, then the second
		var items []request.Item
		for _, i := range broken {
			if places := origins[i.ID]; try < len(places) && why[i.ID] != nil {
				items = append(items, r.item(i, places[try]))
			}
		}
		if len(items) == 0 {
			return why, r.fetchLists(ctx, all, damaged, why)
		}
		if err := r.fetchSome(ctx, items, why); err != nil {
			return nil, err
		}
	}
}

// isImport reports whether an image was imported from a file or a directory.
func isImport(o cache.Origin) bool {
	return o.Transport != "" && o.Transport != cache.Tagged && !image.IsTransport(o.Transport)
}

// fetchSome fetches images, each from one place.
func (r *Repairer) fetchSome(ctx context.Context, items []request.Item, why map[digest.Digest]error) error {
	req, err := request.New(r.Dir, items, r.Options)
	if err != nil {
		return err
	}
	for n, res := range fetch.RefetchImages(ctx, req, r.Log) {
		id := req.Items[n].ID
		r.Fetched = manifest.AddSizes(r.Fetched, res.Metadata.Bytes)
		if res.Success {
			delete(why, id)
			continue
		}
		why[id] = res.Err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// notFetched returns why an image cannot be fetched, with a hint.
func notFetched(i *cacheinfo.Image) error {
	why := "the image has no recorded origin"
	for _, o := range i.Origins {
		if o.Transport == cache.Tagged {
			continue
		}
		if isImport(o) {
			return hint.Add(errors.New("it was imported from "+o.From), "import that again with --repair")
		}
		why = "the recorded origins have another form of the image"
	}
	return hint.Add(errors.New(why), "fetch it by NAME@DIGEST, which records that, and repair again")
}

// maxRepositories limits the repositories tried for a list.
const maxRepositories = 10

// fetchLists fetches published lists that are damaged. If an image was pinned by the list, its repository is recorded;
// otherwise the repositories of all images are tried, since the digest verifies a list wherever it comes from.
func (r *Repairer) fetchLists(ctx context.Context, images []*cacheinfo.Image, damaged []Damage, why map[digest.Digest]error) error {
	for _, d := range damaged {
		if d.What != PartFile {
			continue
		}
		places := listPlaces(images, d.Digest)
		for n, o := range places {
			it := request.Item{ID: d.Digest, Image: r.image(o)}
			it.Image.Digest = ""
			req, err := request.New(r.Dir, []request.Item{it}, r.Options)
			if err != nil { // the record is damaged, too
				continue
			}
			res := fetch.Lists(ctx, req, nil)[0]
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if res.Success {
				r.Log.Note("list %s: fetched from %s", d.Digest, o.Name)
				break
			}
			if n == 0 && o.Digest == d.Digest {
				why[d.Digest] = res.Err
			}
		}
	}
	return nil
}

// listPlaces returns where a list may be found, the most likely place first.
func listPlaces(images []*cacheinfo.Image, list digest.Digest) []cache.Origin {
	var places []cache.Origin
	seen := map[string]bool{}
	for _, sure := range []bool{true, false} {
		for _, i := range images {
			for _, o := range i.Origins {
				repository := cacheinfo.ParseName(o.Name).Repository
				if o.Transport == "" && (o.Digest == list) == sure && !seen[repository] && len(places) < maxRepositories {
					seen[repository] = true
					places = append(places, o)
				}
			}
		}
	}
	return places
}

// item returns the request for an image at one of its origins.
func (r *Repairer) item(i *cacheinfo.Image, o cache.Origin) request.Item {
	it := request.Item{ID: i.ID, Image: r.image(o)}
	if i.Platform.Architecture != "" {
		it.Image.Platform = i.Platform.String()
	}
	return it
}

func (r *Repairer) image(o cache.Origin) request.Image {
	return request.Image{Name: o.Name, Digest: o.Digest, Access: r.Access, Transport: o.Transport, StorageLocation: o.Storage}
}

// usable returns the origins that serve exactly this image, latest first: those with its manifest or its list, or, if one
// of these is damaged, with its recorded digest.
func usable(i *cacheinfo.Image, damaged []Damage) []cache.Origin {
	lost := slices.ContainsFunc(damaged, func(d Damage) bool {
		return d.Image == i.ID && (d.What == PartManifest || d.What == PartList || d.What == PartSchema1)
	})
	var places []cache.Origin
	for _, o := range i.Origins {
		stored := image.IsTransport(o.Transport)
		if o.Digest != "" && (stored || o.Transport == "" && (lost || o.Digest == i.Manifest || o.Digest == i.List || o.Digest == i.Schema1)) {
			places = append(places, o)
		}
	}
	slices.SortStableFunc(places, func(a, b cache.Origin) int {
		return cmp.Or(cmp.Compare(a.Transport, b.Transport), b.Fetched.Compare(a.Fetched))
	})
	return places
}
