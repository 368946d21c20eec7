// Package fetch fetches what a request names into a cache: images and indexes (manifest lists), pinned by digest.
//
// It skips items that are complete in the cache. For each remaining item it reads the manifest by digest, checks the
// config digest against the image id, adds the blobs to the pool and publishes the image with one rename. A blob is
// taken from the pool or downloaded, resuming an earlier download; package retry governs new connections.
//
// A failed item does not affect the others. Transient errors are retried within the bounds of the request, and logged.
// Errors name the image and carry a hint.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/panics"
	"osbuild-containers/internal/process"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
	"osbuild-containers/internal/retry"
)

// job is one request being worked on.
type job struct {
	req   *request.Request
	cache *cache.Cache
	log   *progress.Reporter
	named map[string]int      // how many images for a known platform have a name
	slots *semaphore.Weighted // limits open connections
	fan   *semaphore.Weighted // limits blobs in progress, those waiting for other processes or the disk included
	began time.Time           // fetch time recorded for all items of the job

	firstWait time.Duration // before the first retry; 0 means the default

	stores *semaphore.Weighted // limits layers read from containers storages

	rehash bool // verify pooled blobs before using them

	mu     sync.Mutex
	recent []digest.Digest // ids of cached images whose names may not be synced yet

	noPolicy sync.Once // logs once that there is no policy.json

	poolOnce sync.Once
	pool     *cache.Pool // opened at the first item to fetch
	poolErr  error
}

func newJob(r *request.Request, log *progress.Reporter) *job {
	image.RouteLogs(log.Note)
	c := cache.Open(r.Cache)
	c.Limit, c.Note = r.Options.Timeout, log.Note
	named := map[string]int{}
	for n := range r.Items {
		if r.Items[n].Image.Platform != "" {
			named[r.Items[n].Image.Name]++
		}
	}
	return &job{
		req:   r,
		named: named,
		cache: c,
		log:   log,
		slots: semaphore.NewWeighted(int64(r.Options.MaxParallel)),
		fan:   semaphore.NewWeighted(int64(fanOut * r.Options.MaxParallel)),
		began: time.Now(),

		stores: semaphore.NewWeighted(storeReaders),
	}
}

// storeReaders is how many layers are read from containers storages in parallel: each of the library's readers holds 4
// MiB, and more than two are not faster.
const storeReaders = 2

func (j *job) openPool(ctx context.Context) (*cache.Pool, error) {
	j.poolOnce.Do(func() { j.pool, j.poolErr = j.cache.OpenPool(ctx) })
	return j.pool, j.poolErr
}

func (j *job) close() {
	if j.pool != nil {
		j.pool.Close()
	}
}

// hitWorkers is how many items are looked up in the cache in parallel. A look-up is system calls and hashing.
const hitWorkers = 4

// run answers each item from the cache if present reports that it is there, otherwise by calling fetch.
func (j *job) run(ctx context.Context, present func(context.Context, request.Item) bool, fetch func(context.Context, *item) error) []request.Result {
	items := j.req.Items
	j.log.Begin(len(items))
	results := make([]request.Result, len(items))
	var next atomic.Int64
	var hits sync.WaitGroup
	for range hitWorkers { // a goroutine per item would have to grow its stack each time
		hits.Go(func() {
			for n := next.Add(1) - 1; n < int64(len(items)) && ctx.Err() == nil; n = next.Add(1) - 1 {
				results[n] = j.cached(ctx, items[n], present)
			}
		})
	}
	hits.Wait()
	j.settle(ctx, results)
	j.logCached(results)

	var g errgroup.Group // without its context: a failed item must not cancel the others
	g.SetLimit(j.req.Options.MaxParallel)
	for n := range items {
		if !results[n].Success && results[n].Error == "" {
			g.Go(func() error {
				results[n] = j.fetchItem(ctx, items[n], fetch)
				return nil
			})
		}
	}
	_ = g.Wait()
	return results
}

// cached returns the result of an item that is in the cache, or the zero Result.
func (j *job) cached(ctx context.Context, it request.Item, present func(context.Context, request.Item) bool) (res request.Result) {
	err := panics.Catch(func() error {
		if present(ctx, it) {
			res = done(it)
		}
		return nil
	})
	if err != nil {
		return j.newItem(it).failed(err, request.Metadata{Checksum: it.ID.String()})
	}
	return res
}

// settle waits until the cached items are synced to disk, and logs them.
func (j *job) settle(ctx context.Context, results []request.Result) {
	var lists []digest.Digest
	for n, it := range j.req.Items {
		if results[n].Success && it.Image.Digest == "" {
			lists = append(lists, it.ID)
		}
	}
	errs := j.cache.Sync(ctx, j.recent, lists)
	for n, it := range j.req.Items {
		if !results[n].Success {
			continue
		}
		if err := errs[it.ID]; err != nil {
			results[n] = j.newItem(it).failed(err, request.Metadata{Checksum: it.ID.String()})
			continue
		}
		t := targetOf(it)
		j.log.Cached(t.Name, t.Pinned.String(), it.ID.String())
	}
}

// logCached logs how many items were found in the cache.
func (j *job) logCached(results []request.Result) {
	cached := 0
	for _, r := range results {
		if r.Success {
			cached++
		}
	}
	if cached == 0 {
		return
	}
	kind := "image"
	if j.req.Items[0].Image.Digest == "" {
		kind = "manifest list"
	}
	if len(results) > 1 {
		kind += "s"
	}
	j.log.Note("%d of %d %s already in the cache", cached, len(results), kind)
}

func done(it request.Item) request.Result {
	return request.Result{Success: true, Metadata: request.Metadata{Checksum: it.ID.String(), Cached: true}}
}

// item is one item being fetched.
type item struct {
	*job
	request.Item
	target image.Target
	log    *progress.Item

	tries  *retry.Group
	bytes  atomic.Int64 // downloaded, discarded bytes included
	reused atomic.Int64
}

func (j *job) newItem(ri request.Item) *item {
	it := &item{job: j, Item: ri, target: targetOf(ri)}
	it.log = j.log.Pinned(it.target.Name, it.target.Pinned.String(), it.ID.String())
	if j.named[ri.Image.Name] > 1 || j.rehash { // others with that name may be intact
		it.log.For(ri.Image.Platform)
	}
	it.target.Mirrors = &registry.Mirrors{Note: func(format string, args ...any) { it.log.Note(format, args...) }}
	policy := image.RetryPolicy(ri.Image.Transport, j.req.Options)
	policy.FirstWait = j.firstWait
	it.tries = retry.NewGroup(policy)
	return it
}

func (j *job) fetchItem(ctx context.Context, ri request.Item, fetch func(context.Context, *item) error) request.Result {
	if ctx.Err() != nil { // not started, so nothing is logged
		return failure(fmt.Errorf("%s: %w", targetOf(ri), context.Cause(ctx)), request.Metadata{Checksum: ri.ID.String()}, j.req)
	}
	it := j.newItem(ri)
	began := time.Now()
	err := panics.Catch(func() error { return fetch(ctx, it) })
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	sum := progress.Summary{
		Bytes: it.bytes.Load(), Reused: it.reused.Load(),
		Elapsed: time.Since(began), Attempts: it.tries.Attempts(),
	}
	meta := request.Metadata{
		Checksum: ri.ID.String(), Bytes: sum.Bytes, Reused: sum.Reused,
		Seconds: float64(sum.Elapsed.Milliseconds()) / 1000, Attempts: sum.Attempts,
	}
	if err != nil {
		return it.failed(err, meta)
	}
	it.log.Done(sum)
	return request.Result{Success: true, Metadata: meta}
}

// failed logs the error and returns it as the item's result.
func (it *item) failed(err error, meta request.Metadata) request.Result {
	err = it.withHint(err)
	end := it.log.Fail
	if errors.Is(err, process.ErrInterrupted) {
		end = it.log.Interrupt
	}
	end(hint.Line(err, it.req.Options.Spelling))
	return failure(fmt.Errorf("%s: %w", it.target, err), meta, it.req)
}

// failure returns the result of an item that failed with err.
func failure(err error, meta request.Metadata, r *request.Request) request.Result {
	return request.Result{Metadata: meta, Error: hint.Line(err, r.Options.Spelling), Err: err}
}

func targetOf(it request.Item) image.Target {
	t := image.Target{Image: it.Image, Pinned: it.Image.Digest, ID: it.ID}
	if t.Pinned == "" { // a manifest list is pinned by its key
		t.Pinned, t.ID = it.ID, ""
	}
	return t
}

// withHint adds the remedy to an error.
func (it *item) withHint(err error) error { return hint.With(err, hintOf(it.cache, err)) }
