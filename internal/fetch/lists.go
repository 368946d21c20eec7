package fetch

import (
	"context"
	"errors"

	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// Lists fetches manifest lists, each published as a file under its digest. Of the images that a
// list names nothing is fetched.
func Lists(ctx context.Context, r *request.Request, log *progress.Reporter) []request.Result {
	j := newJob(r, log)
	defer j.close()
	return j.run(ctx, j.usesList, fetchList)
}

// usesList is hasList, and notes that the list was wanted.
func (j *job) usesList(it request.Item) bool {
	j.cache.UseFile(it.ID)
	return j.hasList(it)
}

func (j *job) hasList(it request.Item) bool {
	_, ok := j.cache.File(it.ID)
	return ok
}

var errNoList = errors.New("this is an image, not a manifest list; images are for the source org.osbuild.skopeo")

func fetchList(ctx context.Context, it *item) (err error) {
	s, err := it.newSession(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	raw, m, err := s.manifest(ctx, "")
	if err != nil {
		return err
	}
	if !m.List {
		return errNoList
	}
	if err := s.allowed(ctx, ""); err != nil {
		return err
	}
	it.bytes.Add(int64(len(raw)))
	return it.cache.PublishFile(ctx, it.ID, raw)
}
