package request

// Result is a source's answer for one item. The JSON names are osbuild's.
type Result struct {
	Success  bool     `json:"success"`
	Metadata Metadata `json:"metadata"`
	Error    string   `json:"error"` // error with the image's name, then the hint; empty on success
	Err      error    `json:"-"`     // the error behind Error, for callers in this process
}

// Metadata is the metadata of a result. osbuild knows the first two fields and ignores the rest.
type Metadata struct {
	Checksum string  `json:"checksum"`           // the item's key
	Cached   bool    `json:"cached"`             // nothing was fetched
	Bytes    int64   `json:"bytes,omitempty"`    // bytes downloaded
	Reused   int64   `json:"reused,omitempty"`   // bytes of blobs found in the cache
	Seconds  float64 `json:"seconds,omitempty"`  // from start to publication
	Attempts int     `json:"attempts,omitempty"` // 1 plus the number of retries
}
