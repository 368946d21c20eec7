package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"osbuild-containers/internal/pin"
	"osbuild-containers/schemas"
)

// meta is the meta.json of a source or a stage.
type meta struct {
	Summary     string
	Description []string
	Source      *schema `json:"schema"`
	Stage       *struct {
		Definitions     map[string]*schema
		Inputs, Options *schema
	} `json:"schema_2"`
}

// addModules adds a page for each module. A source and a stage with one name have one page.
func (m manual) addModules() error {
	kinds := map[string][]string{}
	for _, kind := range []string{"sources", "stages"} {
		for _, name := range schemas.Modules(kind) {
			kinds[name] = append(kinds[name], kind)
		}
	}
	for name, of := range kinds {
		metas := map[string]*meta{}
		var about []string
		for _, kind := range of {
			raw, err := map[string]func(string) ([]byte, error){"sources": schemas.Meta, "stages": schemas.Stage}[kind](name)
			if err != nil {
				return err
			}
			metas[kind] = &meta{}
			if err := json.Unmarshal(raw, metas[kind]); err != nil {
				return err
			}
			about = append(about, strings.ToLower(metas[kind].Summary[:1])+metas[kind].Summary[1:])
		}
		p := newPage(name, "8", m.date, strings.Join(about, "; "))
		p.section("SYNOPSIS")
		for n, kind := range of {
			if n > 0 {
				p.text.WriteString(".br\n")
			}
			p.text.WriteString(bold("/usr/lib/osbuild/"+kind+"/"+name) + " < " + italic(moduleText[kind].input) + "\n")
		}
		for _, kind := range of {
			m.addModule(p, name, kind, metas[kind], len(of) > 1)
		}
		p.section("OPTIONS OF THE COMMAND LINE")
		p.prose("osbuild passes none of these.")
		p.entry(bold("--version"), "Print the version.")
		p.entry(bold("--help"), "Print how to run the module by hand, with an example.")
		p.section("EXIT STATUS")
		p.entry(bold("0"), "Success. For a source: all items are in the cache.")
		p.entry(bold("1"), "Failure. The error is in the log.")
		p.entry(bold("2"), "The request or the arguments are invalid. Nothing was changed.")
		p.entry(bold("130, 143"), "Interrupted by SIGINT or SIGTERM.")
		if text := moduleFiles[name]; text != "" {
			p.section("FILES")
			p.prose(text)
		}
		p.section("SEE ALSO")
		also := []string{reference("osbuild-containers", "1"), reference("osbuild-containers-modules", "1"), reference("osbuild", "1"), reference("osbuild-manifest", "5")}
		for _, other := range slices.Sorted(maps.Keys(kinds)) {
			if other != name {
				also = append(also, reference(other, "8"))
			}
		}
		p.text.WriteString(strings.Join(also, ",\n") + "\n")
		m.pages["man8/"+name+".8"] = p
	}
	return nil
}

// addPinFile adds the page of the pin file.
func (m manual) addPinFile() error {
	var s schema
	if err := json.Unmarshal(schemas.PinFile(), &s); err != nil {
		return err
	}
	p := newPage(pin.FileName, "5", m.date, "images pinned by digest, for osbuild")
	p.section("DESCRIPTION")
	p.prose(pinFileText)
	p.section("FIELDS")
	addFields(p, &s, s.Definitions)
	p.section("EXAMPLES")
	p.example(pinFileExample)
	p.section("SEE ALSO")
	p.text.WriteString(reference("osbuild-containers-pin", "1") + ",\n" + reference("osbuild-containers-fetch", "1") + ",\n" + reference("osbuild-containers", "1") + "\n")
	m.pages["man5/"+pin.FileName+".5"] = p
	return nil
}

// addModule adds the sections of a source or a stage.
func (m manual) addModule(p *page, name, kind string, of *meta, several bool) {
	suffix := ""
	if several {
		suffix = " OF THE " + strings.ToUpper(strings.TrimSuffix(kind, "s"))
	}
	p.section("DESCRIPTION" + suffix)
	p.prose(strings.Join(of.Description, "\n") + "\n\n" + moduleText[kind].text)
	type part struct {
		title string
		of    *schema
	}
	var parts []part
	var definitions map[string]*schema
	if kind == "sources" {
		definitions = of.Source.Definitions
		parts = []part{{"ITEMS", of.Source.Properties["items"]}, {"OPTIONS", of.Source.Properties["options"]}}
	} else {
		definitions = of.Stage.Definitions
		parts = []part{{"INPUTS", of.Stage.Inputs}, {"OPTIONS", of.Stage.Options}}
	}
	for _, part := range parts {
		s := part.of.resolve(definitions)
		p.section(part.title + suffix)
		if s.Description != "" {
			p.prose(s.Description)
		}
		addFields(p, s, definitions)
	}
	p.section("EXAMPLE" + suffix)
	p.prose(moduleText[kind].example)
	p.text.WriteString(".sp\n")
	p.example(moduleExamples[kind+"/"+name])
}
