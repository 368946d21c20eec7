package fetch

import (
	"context"
	"errors"

	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// Lists fetches manifest lists, each published as a file under its digest. It does not fetch the images they name.
func Lists(ctx context.Context, r *request.Request, log *progress.Reporter) []request.Result {
	j := newJob(r, log)
	defer j.close()
	return j.run(ctx, j.usesList, fetchList)
}

// usesList is hasList, and records that the list was used.
func (j *job) usesList(ctx context.Context, it request.Item) bool {
	j.cache.UseFile(ctx, it.ID)
	return j.hasList(ctx, it)
}

func (j *job) hasList(ctx context.Context, it request.Item) bool {
	_, there, err := j.list(ctx, it)
	j.noteRefused(it, err)
	return there && err == nil
}

// list reads a list from the cache. The error is that of policy.json.
func (j *job) list(ctx context.Context, it request.Item) (raw []byte, there bool, err error) {
	raw, notFound := j.cache.ReadFile(it.ID)
	if notFound != nil {
		return nil, false, nil //nolint:nilerr // a damaged list is fetched again
	}
	err = targetOf(it).Allowed(ctx, func() ([]byte, [][]byte, error) { return raw, nil, nil }) // signatures of lists are not stored
	return raw, true, err
}

var errNoList = errors.New("this is an image, not a manifest list; images are for the source org.osbuild.skopeo")

func fetchList(ctx context.Context, it *item) (err error) {
	if err := it.target.Refused(ctx); err != nil {
		return err
	}
	if err := it.cache.CheckFile(it.ID); err != nil {
		return err
	}
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
	if _, err := s.allowed(ctx, "", raw); err != nil {
		return err
	}
	it.bytes.Add(int64(len(raw)))
	return it.cache.PublishFile(ctx, it.ID, raw)
}
