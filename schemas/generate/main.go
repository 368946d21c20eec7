// Command generate writes the schemas of schemas/output and the tables of docs/json.md, both made of the types of package
// answer and of their comments.
//
// Its input is plain structs, and its two outputs need the same walk over them: that is less than a library for
// schemas and what it depends on.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/answer"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate DIRECTORY, that of the repository")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(top string) error {
	about, err := comments(filepath.Join(top, "internal/answer"))
	if err != nil {
		return err
	}
	g := &generator{about: about}
	dir := filepath.Join(top, "schemas/output")
	old, err := filepath.Glob(filepath.Join(dir, "*.json"))
	for _, path := range old {
		err = errors.Join(err, os.Remove(path))
	}
	for _, c := range answer.Commands() {
		if c.Answer != nil {
			err = errors.Join(err, g.write(dir, c.File(), g.answer(c)))
		}
	}
	err = errors.Join(err, g.write(dir, answer.EventsFile, g.events()), page(filepath.Join(top, "docs/json.md"), g))
	return errors.Join(err, g.err)
}

// comments returns the comments of the types of a package, by type, and of their fields, by type.field.
func comments(dir string) (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	about := map[string]string{}
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, d := range f.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok != token.TYPE {
				continue
			}
			for _, s := range decl.Specs {
				spec := s.(*ast.TypeSpec)
				doc := spec.Doc
				if doc == nil {
					doc = decl.Doc
				}
				about[spec.Name.Name] = text(doc)
				if st, ok := spec.Type.(*ast.StructType); ok {
					for _, field := range st.Fields.List {
						for _, name := range field.Names {
							about[spec.Name.Name+"."+name.Name] = text(field.Comment)
						}
					}
				}
			}
		}
	}
	return about, nil
}

func text(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }

// generator makes schemas and tables of types.
type generator struct {
	about map[string]string
	err   error // of fields without a comment
}

// schema is a JSON Schema, Draft 4. It is open: a later version of the tool may have further fields.
type schema struct {
	Schema      string             `json:"$schema,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Ref         string             `json:"$ref,omitempty"`
	Type        string             `json:"type,omitempty"`
	Format      string             `json:"format,omitempty"`
	Pattern     string             `json:"pattern,omitempty"`
	Enum        []any              `json:"enum,omitempty"`
	Items       *schema            `json:"items,omitempty"`
	Required    []string           `json:"required,omitempty"`
	Properties  map[string]*schema `json:"properties,omitempty"`
	AnyOf       []*schema          `json:"anyOf,omitempty"`
	Definitions map[string]*schema `json:"definitions,omitempty"`
}

const draft4 = "http://json-schema.org/draft-04/schema#"

func (g *generator) write(dir, name string, s *schema) error {
	s.Schema = draft4
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(s); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644)
}

// answer is the schema of what a command answers.
func (g *generator) answer(c answer.Command) *schema {
	defs := map[string]*schema{}
	s := g.object(reflect.TypeOf(c.Answer), defs)
	s.Title, s.Description, s.Definitions = "osbuild-containers "+c.Name+" --json", g.has(reflect.TypeOf(c.Answer)), defs
	return s
}

// events is the schema of one line of a stream of events.
func (g *generator) events() *schema {
	defs := map[string]*schema{}
	all := &schema{Title: "An event", Description: "One line of osbuild-containers fetch --json and unpack --json.", Definitions: defs}
	for _, e := range answer.Events() {
		t := reflect.TypeOf(e)
		s := g.object(t, defs)
		for _, f := range fields(reflect.TypeFor[answer.EventHead]()) {
			s.Properties[f.name] = g.property(f, defs)
			s.Required = append(s.Required, f.name)
		}
		s.Properties["event"].Enum = []any{e.Event()}
		defs[t.Name()] = s
		all.AnyOf = append(all.AnyOf, &schema{Ref: "#/definitions/" + t.Name()})
	}
	return all
}

// field is a field of a struct, or of one that is embedded in it.
type field struct {
	name, key string // key is that of its comment
	optional  bool
	t         reflect.Type
}

// fields returns the fields of a struct, in the order in which they are written.
func fields(t reflect.Type) (all []field) {
	for n := range t.NumField() {
		f := t.Field(n)
		if f.Anonymous {
			all = append(all, fields(f.Type)...)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		all = append(all, field{name, t.Name() + "." + f.Name, strings.HasPrefix(options, "omit"), f.Type})
	}
	return all
}

// comment is the comment of a field.
func (g *generator) comment(f field) string {
	c := g.about[f.key]
	if f.t == reflect.TypeFor[answer.Format]() {
		c = "version of the format: 1"
	}
	if c == "" {
		g.err = errors.Join(g.err, fmt.Errorf("the field %s has no comment", f.key))
	}
	return c
}

func (g *generator) object(t reflect.Type, defs map[string]*schema) *schema {
	s := &schema{Type: "object", Description: g.doc(t), Properties: map[string]*schema{}}
	for _, f := range fields(t) {
		s.Properties[f.name] = g.property(f, defs)
		if !f.optional {
			s.Required = append(s.Required, f.name)
		}
	}
	return s
}

func (g *generator) property(f field, defs map[string]*schema) *schema {
	s := g.of(f.t, defs)
	s.Description = g.comment(f)
	return s
}

// of is the schema of a type; that of a struct is a definition.
func (g *generator) of(t reflect.Type, defs map[string]*schema) *schema {
	switch t {
	case reflect.TypeFor[answer.Format]():
		return &schema{Type: "integer", Enum: []any{1}}
	case reflect.TypeFor[digest.Digest]():
		return &schema{Type: "string", Pattern: "^(sha256:[0-9a-f]{64})?$"}
	case reflect.TypeFor[time.Time]():
		return &schema{Type: "string", Format: "date-time"}
	case reflect.TypeFor[json.RawMessage]():
		return &schema{Type: "object"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return g.of(t.Elem(), defs)
	case reflect.Slice:
		return &schema{Type: "array", Items: g.of(t.Elem(), defs)}
	case reflect.Struct:
		if defs[t.Name()] == nil {
			defs[t.Name()] = g.object(t, defs)
		}
		return &schema{Ref: "#/definitions/" + t.Name()}
	}
	return &schema{Type: plain(t)}
}

// plain is the name of a type that is neither a struct nor has parts.
func plain(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Float64:
		return "number"
	}
	panic("no name for " + t.String()) // in this repository
}

var word = regexp.MustCompile(`([a-z])([A-Z])`)

// title is the name of a type in words.
func title(t reflect.Type) string { return strings.ToLower(word.ReplaceAllString(t.Name(), "$1 $2")) }

// doc is the comment of a type, with its name in words.
func (g *generator) doc(t reflect.Type) string {
	if about, ok := strings.CutPrefix(g.about[t.Name()], t.Name()); ok {
		return strings.ToUpper(title(t)[:1]) + title(t)[1:] + about
	}
	return strings.Replace(g.about[t.Name()], t.Name(), title(t), 1)
}

// has is what the comment of a type says that it has.
func (g *generator) has(t reflect.Type) string {
	has, _ := strings.CutPrefix(g.about[t.Name()], t.Name()+" has ")
	return strings.ToUpper(has[:1]) + has[1:]
}

// What is between these lines of a page is generated.
const (
	beginMark = "<!-- generated by go generate ./internal/answer -->\n"
	endMark   = "<!-- end -->\n"
)

// page replaces the tables of a page.
func page(path string, g *generator) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	parts := []string{g.commandTables(), g.eventTables()}
	var b strings.Builder
	rest := string(old)
	for _, part := range parts {
		head, tail, ok := strings.Cut(rest, beginMark)
		_, tail, end := strings.Cut(tail, endMark)
		if !ok || !end {
			return fmt.Errorf("%s: want %d parts that are generated", path, len(parts))
		}
		b.WriteString(head + beginMark + "\n" + part + endMark)
		rest = tail
	}
	return os.WriteFile(path, []byte(b.String()+rest), 0o644)
}

// commandTables describes the answers of all commands, and then the objects in them.
func (g *generator) commandTables() string {
	var b strings.Builder
	t := &tables{g: g}
	all := answer.Commands()
	for n := 0; n < len(all); {
		names := []string{all[n].Name}
		schemas := []string{}
		first := all[n]
		for ; n < len(all) && reflect.TypeOf(all[n].Answer) == reflect.TypeOf(first.Answer); n++ {
			if all[n].Name != first.Name {
				names = append(names, all[n].Name)
			}
			schemas = append(schemas, fmt.Sprintf("[%s](../schemas/output/%[1]s)", all[n].File()))
		}
		fmt.Fprintf(&b, "### %s\n\n", strings.Join(names, ", "))
		if first.Answer == nil {
			fmt.Fprintf(&b, "A stream of [events](#events), each on a line. Schema of a line: %s\n\n", schemas[0])
			continue
		}
		fmt.Fprintf(&b, "%s Schema: %s\n\n", g.has(reflect.TypeOf(first.Answer)), strings.Join(schemas, ", "))
		t.table(&b, reflect.TypeOf(first.Answer))
	}
	b.WriteString("## Objects\n\n")
	t.describe(&b)
	return b.String()
}

// eventTables describes all events.
func (g *generator) eventTables() string {
	var b strings.Builder
	t := &tables{g: g}
	fmt.Fprintf(&b, "Every event has these fields:\n\n")
	t.table(&b, reflect.TypeFor[answer.EventHead]())
	for _, e := range answer.Events() {
		o := reflect.TypeOf(e)
		fmt.Fprintf(&b, "### %s\n\n%s\n\n", title(o), strings.Replace(g.about[o.Name()], o.Name(), "It", 1))
		t.table(&b, o)
	}
	t.describe(&b)
	return b.String()
}

// tables notes the objects that tables refer to.
type tables struct {
	g       *generator
	objects []reflect.Type
	done    int // how many of the objects are described
}

// describe writes the tables of the objects that tables refer to.
func (t *tables) describe(b *strings.Builder) {
	for t.done < len(t.objects) {
		o := t.objects[t.done]
		t.done++
		fmt.Fprintf(b, "### %s\n\n%s\n\n", title(o), t.g.doc(o))
		t.table(b, o)
	}
}

func (t *tables) table(b *strings.Builder, o reflect.Type) {
	b.WriteString("| field | type | what it is |\n|---|---|---|\n")
	for n := range o.NumField() {
		f := o.Field(n)
		if f.Anonymous {
			fmt.Fprintf(b, "| | | and the fields of %s |\n", t.link(f.Type))
			continue
		}
		own := fields(reflect.StructOf([]reflect.StructField{{Name: f.Name, Type: f.Type, Tag: f.Tag}}))[0]
		own.key = o.Name() + "." + f.Name
		kind := t.kind(f.Type)
		if own.optional {
			kind += ", optional"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", own.name, kind, t.g.comment(own))
	}
	b.WriteByte('\n')
}

// kind is the name of a type for readers.
func (t *tables) kind(of reflect.Type) string {
	switch of {
	case reflect.TypeFor[answer.Format]():
		return "integer"
	case reflect.TypeFor[digest.Digest]():
		return "digest"
	case reflect.TypeFor[time.Time]():
		return "time"
	case reflect.TypeFor[json.RawMessage]():
		return "object"
	}
	switch of.Kind() {
	case reflect.Pointer:
		return t.kind(of.Elem())
	case reflect.Slice:
		return "array of " + t.kind(of.Elem())
	case reflect.Struct:
		return t.link(of)
	}
	return plain(of)
}

// link refers to the description of an object, which is that of a command if it is all of its answer.
func (t *tables) link(o reflect.Type) string {
	heading := title(o)
	all := answer.Commands()
	if n := slices.IndexFunc(all, func(c answer.Command) bool { return reflect.TypeOf(c.Answer) == o }); n >= 0 {
		heading = all[n].Name
	} else if !strings.HasSuffix(o.Name(), "Event") && !slices.Contains(t.objects, o) {
		t.objects = append(t.objects, o)
	}
	return fmt.Sprintf("[%s](#%s)", heading, strings.ReplaceAll(heading, " ", "-"))
}
