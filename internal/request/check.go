package request

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// check validates doc, found at a path, and adds every problem to found. It reports whether doc is valid.
func check(schema *jsonschema.Schema, doc any, found *problems, at ...string) bool {
	err := schema.Validate(doc)
	if err == nil {
		return true
	}
	if failed, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		explain(schema, doc, failed, found, at)
	} else {
		found.add(joinPath(at...), "%v", err)
	}
	return false
}

// explain adds the leaves of the validator's error tree. Inner nodes only repeat that one of their children is invalid.
func explain(schema *jsonschema.Schema, doc any, err *jsonschema.ValidationError, found *problems, at []string) {
	keyword := path.Base(err.KeywordLocation)
	if keyword != "oneOf" && len(err.Causes) > 0 {
		for _, cause := range err.Causes {
			explain(schema, doc, cause, found, at)
		}
		return
	}
	at = slices.Clone(at)
	for _, key := range strings.Split(err.InstanceLocation, "/")[1:] {
		key = unescape(key)
		if _, list := doc.([]any); list && len(at) > 0 {
			at[len(at)-1] += "[" + key + "]"
		} else {
			at = append(at, key)
		}
		schema, doc = member(schema, doc, key)
	}
	schema = resolve(schema)
	if keyword == "oneOf" && explainType(schema, doc, found, at) {
		return
	}
	for _, text := range wording(keyword, schema, doc, err.Message) {
		found.add(joinPath(at...), "%s", text)
	}
}

// member returns the value of a key in an object or list, with its schema, which is empty if none describes it.
func member(schema *jsonschema.Schema, doc any, key string) (*jsonschema.Schema, any) {
	schema = resolve(schema)
	none := &jsonschema.Schema{}
	switch doc := doc.(type) {
	case map[string]any:
		if s := schema.Properties[key]; s != nil {
			return s, doc[key]
		}
		for pattern, s := range schema.PatternProperties {
			if pattern.MatchString(key) {
				return s, doc[key]
			}
		}
		if s, ok := schema.AdditionalProperties.(*jsonschema.Schema); ok {
			return s, doc[key]
		}
		return none, doc[key]
	case []any:
		i, err := strconv.Atoi(key)
		if err != nil || i < 0 || i >= len(doc) {
			return none, nil
		}
		switch items := schema.Items.(type) {
		case *jsonschema.Schema:
			return items, doc[i]
		case []*jsonschema.Schema:
			if i < len(items) {
				return items[i], doc[i]
			}
		}
		return none, doc[i]
	}
	return none, nil
}

// explainType explains what is wrong with an object whose field "type" selects one of several schemas. It returns
// false if the schema is not of that form.
func explainType(schema *jsonschema.Schema, doc any, found *problems, at []string) bool {
	var types []string
	fields, _ := doc.(map[string]any)
	for _, form := range schema.OneOf {
		form = resolve(form)
		kind := form.Properties["type"]
		if kind == nil || len(kind.Enum) == 0 {
			return false
		}
		for _, t := range kind.Enum {
			types = append(types, describe(t))
			if fields != nil && fields["type"] == t {
				check(form, doc, found, at...)
				return true
			}
		}
	}
	v, given := fields["type"]
	switch {
	case fields == nil:
		found.add(joinPath(at...), "must be an object, got %s", describe(doc))
	case !given:
		found.add(joinPath(at...), "field %q is missing", "type")
	default:
		found.add(joinPath(append(at, "type")...), "must be %s, got %s", strings.Join(types, " or "), describe(v))
	}
	return true
}

// wording describes how a value violates a keyword of its schema.
func wording(keyword string, schema *jsonschema.Schema, v any, fallback string) (texts []string) {
	fields, _ := v.(map[string]any)
	switch keyword {
	case "additionalProperties":
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			if known, _ := member(schema, fields, key); known.Location == "" {
				texts = append(texts, "unknown field "+quote(key))
			}
		}
	case "required":
		for _, key := range schema.Required {
			if _, ok := fields[key]; !ok {
				texts = append(texts, fmt.Sprintf("field %q is missing", key))
			}
		}
	case "oneOf":
		texts = append(texts, "give exactly one of items and digests")
	case "type":
		texts = append(texts, fmt.Sprintf("must be %s, got %s", typeNames(schema.Types), describe(v)))
	case "enum":
		var allowed []string
		for _, e := range schema.Enum {
			allowed = append(allowed, describe(e))
		}
		texts = append(texts, fmt.Sprintf("must be %s, got %s", strings.Join(allowed, " or "), describe(v)))
	case "pattern":
		if schema.Pattern != nil && !strings.Contains(schema.Pattern.String(), "sha256") {
			return []string{fmt.Sprintf("must match %s, got %s", schema.Pattern, describe(v))}
		}
		texts = append(texts, notDigest(v))
	case "minimum":
		texts = append(texts, fmt.Sprintf("must be at least %s, got %s", schema.Minimum.RatString(), describe(v)))
	case "maximum":
		texts = append(texts, fmt.Sprintf("must be at most %s, got %s", schema.Maximum.RatString(), describe(v)))
	case "minItems":
		texts = append(texts, fmt.Sprintf("must have at least %d values", schema.MinItems))
	case "maxItems":
		texts = append(texts, fmt.Sprintf("must have at most %d values", schema.MaxItems))
	case "minLength":
		texts = append(texts, "is empty")
	}
	if len(texts) == 0 {
		texts = append(texts, fallback)
	}
	return texts
}

// typeNames names JSON types. It leaves out null.
func typeNames(types []string) string {
	names := map[string]string{
		"object": "an object", "array": "a list", "string": "a string",
		"boolean": "true or false", "integer": "a whole number", "number": "a number",
	}
	var out []string
	for _, t := range types {
		if name := names[t]; name != "" {
			out = append(out, name)
		}
	}
	return strings.Join(out, " or ")
}

func resolve(s *jsonschema.Schema) *jsonschema.Schema {
	for s.Ref != nil {
		s = s.Ref
	}
	return s
}

// unescape undoes the validator's escaping of a key in a location.
func unescape(key string) string {
	if plain, err := url.PathUnescape(key); err == nil {
		key = plain
	}
	return strings.NewReplacer("~1", "/", "~0", "~").Replace(key)
}
