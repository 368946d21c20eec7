// Command bench measures our sources beside the tools they replace: the same image, from the same
// registry, on the same disk, in turn. It prints, for each kind of work, a table with the median of
// each tool and the ratio of ours to it.
//
// Peers are those found on PATH: skopeo, crane, oras, regctl; each is followed by a sync of the
// file system, since ours is durable when it ends. With -images (or BENCH_IMAGES), a JSON file name
// -> {ref, digest, id, layers}, images of a registry that is running are used; without, images of
// the same shape are made and served by the test registry.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
)

func main() {
	runs := flag.Int("runs", 5, "counted runs of each command, after one that is not")
	list := flag.String("images", os.Getenv("BENCH_IMAGES"), "JSON file that names images of a running registry")
	dir := flag.String("dir", os.Getenv("BENCH_DIR"), "scratch folder on the disk to measure")
	lib := flag.String("libdir", "build/libdir", "libdir with our sources")
	fresh := flag.String("fresh", os.Getenv("BENCH_FRESH"), "command that empties the scratch folder, such as one that makes a new file system")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *runs, *list, *dir, *lib, *fresh); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, runs int, list, dir, lib, fresh string) error {
	if dir == "" {
		tmp, err := os.MkdirTemp(".", ".bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		dir = tmp
	}
	b, err := newBench(ctx, runs, dir, lib, fresh)
	if err != nil {
		return err
	}
	stop, err := b.findImages(list)
	if err != nil {
		return err
	}
	defer stop()
	fmt.Printf("%d cores, %s, medians of %d runs after one that is not counted\n", runtime.NumCPU(), runtime.Version(), runs)
	for _, work := range []func() error{
		func() error { return b.fetch("cold fetch of one large image", "big") },
		func() error { return b.fetch("eight images that share three layers, one request", b.apps()...) },
		func() error { return b.fetch("one image of 100 small layers", "many") },
		b.cached, b.together, b.killed,
	} {
		if err := work(); err != nil {
			return err
		}
	}
	return nil
}
