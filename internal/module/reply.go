package module

import (
	"strings"

	"osbuild-containers/internal/request"
)

// Reply is the answer of a source. osbuild v186 and later require all fields except the last.
type Reply struct {
	Name       string           `json:"name"`        // "source " and the module's name
	SourceType string           `json:"source_type"` // the module's name
	Success    bool             `json:"success"`     // all items succeeded
	Output     string           `json:"output"`      // one sentence, and every error
	Results    []request.Result `json:"results"`     // one per item, in the order of sorted keys
	// Error says why the request was refused or ended early.
	Error string `json:"error,omitempty"`
}

// reply returns the reply for the items' results and, if the request failed as a whole, err.
func (s Source) reply(results []request.Result, err error) Reply {
	r := Reply{Name: "source " + s.Name, SourceType: s.Name, Success: err == nil, Results: results}
	if r.Results == nil {
		r.Results = []request.Result{}
	}
	var errs []string
	if err != nil {
		r.Error = err.Error()
		errs = append(errs, r.Error)
	}
	for _, res := range results {
		if !res.Success {
			r.Success = false
			if res.Error != r.Error {
				errs = append(errs, res.Error)
			}
		}
	}
	r.Output = r.Name + " finished successfully"
	if !r.Success {
		r.Output = r.Name + " finished unsuccessfully: " + strings.Join(errs, "\n")
	}
	return r
}
