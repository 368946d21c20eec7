package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v5"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/cli"
)

// undescribed is the exit status of a command whose answer is not as its schema says.
const undescribed = 99

// run is the tool. Where $SCHEMAS names the directory of the schemas, what --json answers is checked against its own, and
// the schema is noted in the file $SEEN, if that is set.
func run() int {
	env := cli.OS()
	dir := os.Getenv("SCHEMAS")
	if dir == "" || !slices.Contains(os.Args, "--json") {
		return cli.Main(context.Background(), env)
	}
	var out bytes.Buffer
	env.Stdout = io.MultiWriter(env.Stdout, &out)
	status := cli.Main(context.Background(), env)
	if out.Len() == 0 { // refused, or failed
		return status
	}
	file, err := schemaOf(os.Args[1:])
	if err == nil {
		err = conforms(filepath.Join(dir, file), out.Bytes())
	}
	if seen := os.Getenv("SEEN"); err == nil && seen != "" {
		var f *os.File
		if f, err = os.OpenFile(seen, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666); err == nil {
			_, err = fmt.Fprintln(f, file)
			f.Close()
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n%s", file, err, out.Bytes())
		return undescribed
	}
	return status
}

// schemaOf returns the file of the schema of what a command line answers.
func schemaOf(args []string) (string, error) {
	cmd, _, err := cli.Root().Find(args)
	if err != nil {
		return "", err
	}
	_, name, _ := strings.Cut(cmd.CommandPath(), " ")
	switch {
	case name == "pin":
		name = "pin add"
	case name == "fetch" && (slices.Contains(args, "--plan") || slices.Contains(args, "--dry-run")):
		name = "fetch --plan"
	case name == "unpack" && slices.Contains(args, "--dry-run"):
		name = "unpack --dry-run"
	}
	for _, c := range answer.Commands() {
		if c.Name == name {
			return c.File(), nil
		}
	}
	return "", fmt.Errorf("package answer has no command %s", name)
}

// conforms returns an error if JSON, one document or several, is not as a schema says, or has more.
func conforms(schema string, raw []byte) error {
	text, err := os.ReadFile(schema)
	if err != nil {
		return err
	}
	var s any
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	closeObjects(s)
	if text, err = json.Marshal(s); err != nil {
		return err
	}
	compiled, err := jsonschema.CompileString(schema, string(text))
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	for n := 0; ; n++ {
		var doc any
		if err := dec.Decode(&doc); err == io.EOF && n > 0 {
			return nil
		} else if err != nil {
			return err
		}
		if err := compiled.Validate(doc); err != nil {
			return fmt.Errorf("%#v", err)
		}
	}
}

// closeObjects has a schema refuse fields that it does not describe.
func closeObjects(schema any) {
	switch s := schema.(type) {
	case map[string]any:
		if _, ok := s["properties"].(map[string]any); ok {
			s["additionalProperties"] = false
		}
		for _, part := range s {
			closeObjects(part)
		}
	case []any:
		for _, part := range s {
			closeObjects(part)
		}
	}
}

// everySchema is the command everyschema of scripts: it fails unless the file SEEN names all schemas.
func everySchema(ts *testscript.TestScript, _ bool, args []string) {
	seen := strings.Fields(ts.ReadFile(args[0]))
	for _, c := range answer.Commands() {
		if !slices.Contains(seen, c.File()) {
			ts.Fatalf("no answer of %s was checked", c.Name)
		}
	}
}

// TestEveryCommandHasASchema shows that what a command answers in JSON is described, for all commands but those that answer
// in another form.
func TestEveryCommandHasASchema(t *testing.T) {
	others := []string{"help", "completion", "modules", "pin export"}
	for _, cmd := range cli.Root().Commands() {
		all := append(cmd.Commands(), cmd)
		for _, c := range all {
			_, name, _ := strings.Cut(c.CommandPath(), " ")
			if slices.ContainsFunc(others, func(o string) bool { return name == o || o == "completion" && strings.HasPrefix(name, o+" ") }) {
				continue
			}
			if _, err := schemaOf(strings.Fields(name)); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestSchemasRefuse shows that answers with a field too many, one too few and one of another type do not conform.
func TestSchemasRefuse(t *testing.T) {
	schema := filepath.Join("..", "..", "schemas", "output", "version.schema.json")
	for text, want := range map[string]string{
		`{"version": 1, "name": "n", "release": "r"}`:             "",
		`{"version": 1, "name": "n", "release": "r", "more": 1}`:  "additionalProperties",
		`{"version": 1, "name": "n"}`:                             "missing properties: 'release'",
		`{"version": 2, "name": "n", "release": "r"}`:             `value must be "1"`,
		`{"version": 1, "name": 1, "release": "r"}`:               "expected string, but got number",
		`{"version": 1, "name": "n", "release": "r"} {}`:          "missing properties",
		`{"version": 1, "name": "n", "release": "r"} {"version":`: "unexpected EOF",
		``: "EOF",
	} {
		err := conforms(schema, []byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
