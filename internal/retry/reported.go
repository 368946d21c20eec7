package retry

import (
	"fmt"
	"sync"
	"time"
)

// reportInterval is how long a failed try that was reported stands for others like it.
const reportInterval = time.Minute

// Reported records which failed tries were reported, so that a cause that many operations share is reported once. The
// zero value is ready for use. It is safe for concurrent use.
type Reported struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// Repeated reports whether a try with the same number failed with the same error less than a minute ago. If not, f is the
// one to report.
func (r *Reported) Repeated(f Failure) bool {
	key := fmt.Sprintf("%d %v", f.Attempt, f.Err)
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.last[key]; ok && time.Since(at) < reportInterval {
		return true
	}
	if r.last == nil {
		r.last = map[string]time.Time{}
	}
	r.last[key] = time.Now()
	return false
}
