package request

// Result is the answer of a source for one item. The JSON names are osbuild's.
type Result struct {
	Success  bool     `json:"success"`
	Metadata Metadata `json:"metadata"`
	Error    string   `json:"error"` // what went wrong and with which image, then the hint; empty on success
	Err      error    `json:"-"`     // what Error is made of, for callers in this process
}

// Metadata of a result. osbuild knows the first two; it ignores the rest.
type Metadata struct {
	Checksum string  `json:"checksum"`           // the item's key
	Cached   bool    `json:"cached"`             // nothing had to be fetched
	Bytes    int64   `json:"bytes,omitempty"`    // bytes downloaded
	Reused   int64   `json:"reused,omitempty"`   // bytes of blobs that the cache had already
	Seconds  float64 `json:"seconds,omitempty"`  // from start to published
	Attempts int     `json:"attempts,omitempty"` // 1, and one more for each retry
}
