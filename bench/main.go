// Command bench compares us with the tools we replace: the same image, from the same registry, on the same disk, in turn.
// For each kind of work it prints a table with each tool's median and the ratio of ours to it.
//
// Peers are those found on PATH: skopeo, crane, oras, regctl, umoci, podman, pigz. Each fetch by a peer is followed by a
// sync of the file system, since ours is durable when it ends. With -images (or BENCH_IMAGES), a JSON file that maps names
// to {ref, digest, id, layers}, images of a running registry are used; otherwise images of the same shape are made and
// served by the test registry.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
)

// work is one thing to measure.
type work struct {
	name string
	run  func(b *bench) error
}

// works are all kinds of work, in the order in which they are printed.
var works = []work{
	{"big", func(b *bench) error { return b.fetch("cold fetch of one large image", "big") }},
	{"apps", func(b *bench) error { return b.fetch("eight images that share three layers, one request", b.apps()...) }},
	{"many", func(b *bench) error { return b.fetch("one image of 100 small layers", "many") }},
	{"cached", (*bench).cached},
	{"together", (*bench).together},
	{"killed", (*bench).killed},
	{"deploy", (*bench).deploy},
	{"skewed", (*bench).skewed},
	{"dir", func(b *bench) error { return b.place("dir") }},
	{"oci", func(b *bench) error { return b.place("oci") }},
	{"pack", (*bench).pack},
	{"pin", (*bench).pin},
	{"mirror", (*bench).mirror},
	{"carry", (*bench).carry},
	{"verify", (*bench).verify},
	{"unpack", (*bench).unpack},
	{"disks", (*bench).disks},
	{"builds", (*bench).builds},
}

func main() {
	names := make([]string, len(works))
	for i, w := range works {
		names[i] = w.name
	}
	var o options
	flag.IntVar(&o.runs, "runs", 5, "counted runs of each command, after one that is not")
	flag.StringVar(&o.images, "images", os.Getenv("BENCH_IMAGES"), "JSON file that names images of a running registry")
	flag.StringVar(&o.dir, "dir", os.Getenv("BENCH_DIR"), "scratch directory on the disk to measure")
	flag.StringVar(&o.lib, "libdir", "build/libdir", "libdir with our executables")
	flag.StringVar(&o.fresh, "fresh", os.Getenv("BENCH_FRESH"), "command that empties the scratch directory, such as one that makes a new file system")
	flag.StringVar(&o.osbuild, "osbuild", os.Getenv("OSBUILD"), "checkout of osbuild, for whole builds")
	only := flag.String("only", "", "what to measure, with commas between: "+strings.Join(names, ", "))
	read := flag.String("read", "", "read this layer, and do nothing else")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *read != "" {
		if err := readLayer(ctx, *read); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(ctx, o, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, only string) error {
	if o.dir == "" {
		tmp, err := os.MkdirTemp(".", ".bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		o.dir = tmp
	}
	chosen := works
	if only != "" {
		names := strings.Split(only, ",")
		chosen = slices.DeleteFunc(slices.Clone(works), func(w work) bool { return !slices.Contains(names, w.name) })
		if len(chosen) != len(names) {
			return fmt.Errorf("-only %s: not all of this is there to measure", only)
		}
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	stop, err := b.findImages(o.images)
	if err != nil {
		return err
	}
	defer stop()
	fmt.Printf("%d cores, %s, medians of %d runs after one that is not counted\n", runtime.NumCPU(), runtime.Version(), o.runs)
	for _, w := range chosen {
		if err := w.run(b); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}
