package deploy

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"osbuild-containers/internal/progress"
)

// What a mebibyte of archive takes, ten times longer than on the machine of
// docs/performance.md, so that what is not slept but worked here does not count: to
// decompress it with both digests, and to write it.
const (
	readTime  = 43 * time.Millisecond
	writeTime = 21 * time.Millisecond
)

// BenchmarkCores deploys images on a machine with so many cores, which is a model: what takes
// time there sleeps here, while it has one of the cores. It reports how many times faster
// that is than one core, and how many times longer it takes than reading the largest layer.
func BenchmarkCores(b *testing.B) {
	for _, image := range []struct {
		name string
		mib  []int
	}{
		{"equal", []int{4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4}},
		{"skewed", []int{1, 18, 6, 5, 4, 3, 2, 1}},
		{"skewed, the largest on top", []int{1, 6, 5, 4, 3, 2, 1, 18}},
	} {
		var one time.Duration
		for _, cores := range []int{1, 2, 4, 8, 16} {
			b.Run(fmt.Sprintf("%s/%d", image.name, cores), func(b *testing.B) {
				for range b.N {
					m := machine(make(chan struct{}, cores))
					took := m.deploy(b, image.mib)
					if cores == 1 {
						one = took
					}
					b.ReportMetric(one.Seconds()/took.Seconds(), "times-one-core")
					b.ReportMetric(took.Seconds()/m.read(b, slices.Max(image.mib)).Seconds(), "of-the-largest")
				}
			})
		}
	}
}

// machine has room for as many as work at a time.
type machine chan struct{}

func (m machine) work(bytes int, mib time.Duration) {
	if bytes > 0 {
		m <- struct{}{}
		time.Sleep(time.Duration(int64(mib) * int64(bytes) >> 20))
		<-m
	}
}

// layer returns a layer of so many mebibytes.
func (m machine) layer(b *testing.B, name string, mib int) Layer {
	b.Helper()
	const size = 64 << 10
	var items []item
	for i := range mib << 20 / size {
		items = append(items, file(fmt.Sprintf("%s/%d/%d", name, i/10, i), strings.Repeat("x", size)))
	}
	plain := archive(b, items...)
	return Layer{Size: int64(len(plain)), Open: func() (io.ReadCloser, error) {
		return &slow{bytes.NewReader(plain), m}, nil
	}}
}

// read returns how long it takes to read a layer alone.
func (m machine) read(b *testing.B, mib int) time.Duration {
	b.Helper()
	r, err := m.layer(b, "x", mib).Open()
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 128<<10)); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

// deploy returns how long it takes to deploy layers of so many mebibytes.
func (m machine) deploy(b *testing.B, mib []int) time.Duration {
	b.Helper()
	var layers []Layer
	for n, size := range mib {
		layers = append(layers, m.layer(b, strconv.Itoa(n), size))
	}
	d, err := deployerIn(newPlace(b).tree, layers, Options{}, progress.NewLog(io.Discard))
	if err != nil {
		b.Fatal(err)
	}
	defer d.tree.Close()
	d.procs, d.most = cap(m), int64(cap(m))*aheadBytes
	d.pause = func(bytes int) { m.work(bytes, writeTime) }
	began := time.Now()
	if err := d.run(b.Context()); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

// slow is a layer that takes work to read.
type slow struct {
	r io.Reader
	m machine
}

func (s *slow) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.m.work(n, readTime)
	return n, err
}

func (s *slow) Close() error { return nil }
