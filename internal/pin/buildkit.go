package pin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// sourcePolicy is what buildctl, docker buildx and podman build read: each rule turns a reference
// into one with its digest, wherever a build names it.
type sourcePolicy struct {
	Rules []policyRule `json:"rules"`
}

type policyRule struct {
	Action   string        `json:"action"`
	Selector policySource  `json:"selector"`
	Updates  *policySource `json:"updates,omitempty"`
}

type policySource struct {
	Identifier string `json:"identifier"`
}

// imageScheme begins the identifier of an image; other sources are of no interest.
const imageScheme = "docker-image://"

func encodeBuildkit(all []other) ([]byte, error) {
	policy := sourcePolicy{Rules: []policyRule{}}
	for _, o := range all {
		if strings.Contains(o.reference, "@") {
			continue // is pinned wherever it is named
		}
		policy.Rules = append(policy.Rules, policyRule{
			Action:   "CONVERT",
			Selector: policySource{imageScheme + o.reference},
			Updates:  &policySource{imageScheme + o.pinned()},
		})
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(policy)
	return b.Bytes(), err
}

func decodeBuildkit(raw []byte) ([]string, error) {
	var policy sourcePolicy
	if err := json.Unmarshal(raw, &policy); err != nil {
		return nil, fmt.Errorf("not a source policy: %w", err)
	}
	var all []other
	for n, rule := range policy.Rules {
		if rule.Action != "CONVERT" || rule.Updates == nil {
			continue // allows or denies: pins nothing
		}
		name, ok := strings.CutPrefix(rule.Updates.Identifier, imageScheme)
		if !ok {
			continue
		}
		o, err := pinnedName(name)
		if err != nil {
			return nil, fmt.Errorf("rules[%d].updates.identifier: %w", n, err)
		}
		if strings.Contains(o.reference, "@") { // the tag may be on the other side
			o.reference = tagged(o.reference, strings.TrimPrefix(rule.Selector.Identifier, imageScheme))
		}
		all = append(all, o)
	}
	if all == nil {
		return nil, errors.New("this source policy converts no image to one with a digest")
	}
	return spell(all), nil
}

// tagged is the reference with the tag that another name of the image has, if it has one.
func tagged(ref, name string) string {
	repository, _, _ := strings.Cut(ref, "@")
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return ref
	}
	if t, ok := named.(reference.Tagged); ok && named.Name() == repository {
		return repository + ":" + t.Tag()
	}
	return ref
}
