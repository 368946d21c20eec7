package module

import (
	"os"
	"runtime/debug"
)

const (
	// softLimit is the memory, in bytes, above which Go collects garbage more often. A fetch needs far
	// less; without the limit the heap would double between two collections.
	softLimit = 24 << 20

	// perByte is the memory, in bytes, added for each byte of a request: a large one needs more, and
	// collecting garbage all the time would take longer than answering it.
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
