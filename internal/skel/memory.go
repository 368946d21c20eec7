package skel

import (
	"os"
	"runtime/debug"
)

// softLimit is the memory, in bytes, from which on Go collects garbage more eagerly. A
// fetch needs far less; without the limit, the heap would double between two
// collections, and a build host has better uses for that.
const softLimit = 64 << 20

// limitMemory keeps the process small, unless the environment says how it should be.
func limitMemory() {
	_, percent := os.LookupEnv("GOGC")
	_, limit := os.LookupEnv("GOMEMLIMIT")
	if !percent && !limit {
		debug.SetMemoryLimit(softLimit)
	}
}
