package module

import (
	"os"
	"runtime/debug"
)

// softLimit is the memory, in bytes, from which on Go collects garbage more eagerly. A
// fetch needs far less; without the limit, the heap would double between two
// collections, and a build host has better uses for that.
const softLimit = 24 << 20

// perByte is how many bytes of memory a byte of a request is worth: a large request may take more,
// since collecting garbage all the time would take longer than the request.
const perByte = 8

// limitMemory keeps the process small while it answers a request of that many bytes, unless the
// environment says how it should be.
func limitMemory(request int) {
	_, percent := os.LookupEnv("GOGC")
	_, limit := os.LookupEnv("GOMEMLIMIT")
	if !percent && !limit {
		debug.SetMemoryLimit(softLimit + perByte*int64(request))
	}
}
