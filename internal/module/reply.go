package module

import (
	"strings"

	"osbuild-containers/internal/request"
)

// Reply is what a source answers, always this whole object. osbuild since v186 wants
// all of its fields but the last.
type Reply struct {
	Name       string           `json:"name"`        // "source " and the type
	SourceType string           `json:"source_type"` // the module's name
	Success    bool             `json:"success"`     // every item is there
	Output     string           `json:"output"`      // a sentence for a person, with every error
	Results    []request.Result `json:"results"`     // one for each item, in the order of sorted keys
	// Error says why the request as a whole was refused or ended early.
	Error string `json:"error,omitempty"`
}

// reply makes the reply of the items' results. failed is what went wrong as a whole,
// or empty.
func (s Source) reply(results []request.Result, failed string) Reply {
	r := Reply{Name: "source " + s.Name, SourceType: s.Name, Success: failed == "", Results: results, Error: failed}
	if r.Results == nil {
		r.Results = []request.Result{}
	}
	var errs []string
	if failed != "" {
		errs = append(errs, failed)
	}
	for _, res := range results {
		if !res.Success {
			r.Success = false
			if res.Error != failed {
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
