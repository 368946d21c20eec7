// Command notices writes what must be distributed with executables: the licences of the modules linked into them, and an SBOM in
// SPDX. Both are derived from what Go records in the executables and from Go's module cache, and are reproducible.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	out := flag.String("out", "", "the `DIR` to write to")
	version := flag.String("version", "", "the version of the executables")
	epoch := flag.Int64("epoch", 0, "when they were made, in `SECONDS` since 1970")
	flag.Parse()
	if *out == "" || *version == "" || flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: notices -out DIR -version VERSION [-epoch SECONDS] EXECUTABLE…")
		os.Exit(2)
	}
	if err := write(*out, *version, time.Unix(*epoch, 0).UTC(), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "notices:", err)
		os.Exit(1)
	}
}

// module is a module linked into at least one executable.
type module struct {
	Path, Version, Dir string
	License            string // SPDX expression; NOASSERTION if not recognised
}

func write(out, version string, made time.Time, executables []string) error {
	modules, golang, err := linked(executables)
	if err != nil {
		return err
	}
	for n := range modules {
		if modules[n].License, err = copyLicenses(modules[n], filepath.Join(out, "third-party", modules[n].Path)); err != nil {
			return err
		}
	}
	doc, err := sbom(version, made, modules, golang, executables)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "sbom.spdx.json"), doc, 0o644)
}

// linked returns the modules in the executables sorted by path, the standard library first, and the version of Go.
func linked(executables []string) ([]module, string, error) {
	versions := map[string]string{}
	golang := ""
	for _, file := range executables {
		info, err := buildinfo.ReadFile(file)
		if err != nil {
			return nil, "", err
		}
		golang = strings.TrimPrefix(info.GoVersion, "go")
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			versions[m.Path] = m.Version
		}
	}
	all := []module{{Path: "std", Version: golang, Dir: runtime.GOROOT()}} //nolint:staticcheck // the toolchain that runs this is the one that has built them
	listed, err := exec.CommandContext(context.Background(), "go", "list", "-m", "-json", "all").Output()
	if err != nil {
		return nil, "", fmt.Errorf("go list -m all: %w", err)
	}
	for dec := json.NewDecoder(bytes.NewReader(listed)); ; {
		var m module
		if err := dec.Decode(&m); err == io.EOF {
			break
		} else if err != nil {
			return nil, "", err
		}
		if v, ok := versions[m.Path]; ok && v == m.Version {
			all = append(all, m)
			delete(versions, m.Path)
		}
	}
	for path, version := range versions {
		return nil, "", fmt.Errorf("module %s %s is not in the module cache", path, version)
	}
	slices.SortStableFunc(all[1:], func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	return all, golang, nil
}

var licenseFile = regexp.MustCompile(`(?i)^((un)?licen[cs]e|copying|notice|copyright|patents)([.-].*)?$`)

// copyLicenses copies the module's licence and notice files, and returns the licence.
func copyLicenses(m module, to string) (string, error) {
	entries, err := os.ReadDir(m.Dir)
	if err != nil {
		return "", fmt.Errorf("module %s: %w", m.Path, err)
	}
	license := "NOASSERTION"
	found := false
	for _, e := range entries {
		if !licenseFile.MatchString(e.Name()) || e.IsDir() || strings.HasSuffix(e.Name(), ".go") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(m.Dir, e.Name()))
		if err != nil {
			return "", err
		}
		if err := os.MkdirAll(to, 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), text, 0o644); err != nil {
			return "", err
		}
		found = true
		if id := recognise(string(text)); id != "" && license == "NOASSERTION" {
			license = id
		}
	}
	if !found {
		return "", fmt.Errorf("module %s has no file with a licence in %s", m.Path, m.Dir)
	}
	return license, nil
}

// recognise returns the SPDX identifier of a licence, by phrases found only in it, or "".
func recognise(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	has := func(s string) bool { return strings.Contains(text, s) }
	switch {
	case has("This is free and unencumbered software released into the public domain"):
		return "Unlicense"
	case has("Apache License Version 2.0"):
		return "Apache-2.0"
	case has("Mozilla Public License Version 2.0"), has("Mozilla Public License, version 2.0"):
		return "MPL-2.0"
	case has("Permission is hereby granted, free of charge"):
		return "MIT"
	case has("Permission to use, copy, modify, and/or distribute this software"), has("Permission to use, copy, modify, and distribute this software"):
		return "ISC"
	case has("Redistribution and use in source and binary forms") && (has("Neither the name") || has("may be used to endorse")):
		return "BSD-3-Clause"
	case has("Redistribution and use in source and binary forms"):
		return "BSD-2-Clause"
	}
	return ""
}

type object map[string]any

// sbom returns an SPDX 2.3 document.
func sbom(version string, made time.Time, modules []module, golang string, executables []string) ([]byte, error) {
	const root = "SPDXRef-osbuild-containers"
	packages := []object{{
		"SPDXID": root, "name": "osbuild-containers", "versionInfo": version, "downloadLocation": "NOASSERTION",
		"filesAnalyzed": false, "licenseConcluded": "Apache-2.0", "licenseDeclared": "Apache-2.0", "copyrightText": "NOASSERTION",
	}}
	relations := []object{{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": root}}
	notID := regexp.MustCompile(`[^A-Za-z0-9.-]`)
	hash := sha256.New()
	for _, m := range modules {
		id := "SPDXRef-module-" + notID.ReplaceAllString(m.Path, "-")
		purl := fmt.Sprintf("pkg:golang/%s@%s", m.Path, m.Version)
		packages = append(packages, object{
			"SPDXID": id, "name": m.Path, "versionInfo": m.Version, "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
			"licenseConcluded": m.License, "licenseDeclared": m.License, "copyrightText": "NOASSERTION",
			"externalRefs": []object{{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}},
		})
		relations = append(relations, object{"spdxElementId": root, "relationshipType": "STATIC_LINK", "relatedSpdxElement": id})
		fmt.Fprintln(hash, purl)
	}
	for _, file := range executables {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(hash, "%x\n", sha256.Sum256(raw))
	}
	doc, err := json.MarshalIndent(object{
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "osbuild-containers-" + version,
		"documentNamespace": fmt.Sprintf("https://spdx.org/spdxdocs/osbuild-containers-%s-%x", version, hash.Sum(nil)[:16]),
		"creationInfo":      object{"created": made.Format(time.RFC3339), "creators": []string{"Tool: osbuild-containers-notices", "Tool: go-" + golang}},
		"packages":          packages, "relationships": relations,
	}, "", "  ")
	return append(doc, '\n'), err
}
