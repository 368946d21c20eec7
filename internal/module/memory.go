package module

import (
	"os"
	"runtime/debug"
)

const (
	// softLimit is the memory limit, in bytes, above which Go collects garbage more often. Without it the heap
	// would double between collections, though a fetch needs far less.
	softLimit = 24 << 20

	// perByte is added to the limit for each byte of the request, since decoding a large one needs more memory.
	perByte = 8
)

// limitMemory keeps the process small while it answers a request of size bytes, unless GOGC or
// GOMEMLIMIT is set.
func limitMemory(size int) {
	_, percent := os.LookupEnv("GOGC")
	_, limit := os.LookupEnv("GOMEMLIMIT")
	if !percent && !limit {
		debug.SetMemoryLimit(softLimit + perByte*int64(size))
	}
}
