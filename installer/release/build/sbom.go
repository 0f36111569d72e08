package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"hausmeister/installer/release"
)

// SBOM says what a program consists of: CycloneDX 1.6, from what the linker wrote
// into it, with the SHA-512 of the program and of each module as it came, and the
// licences that lie in them. The same program gives the same bytes. source is the
// folder that it was built in, for our own licence.
func SBOM(ctx context.Context, file string, p Program, b Build, source string) ([]byte, error) {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading what %s was built from: %w", file, err)
	}
	cache, err := goCommand(ctx, source, nil, "env", "GOMODCACHE")
	if err != nil {
		return nil, err
	}
	root, err := goCommand(ctx, source, nil, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	bom := cdx.NewBOM()
	bom.SpecVersion = cdx.SpecVersion1_6
	bom.JSONSchema = "http://cyclonedx.org/schema/bom-1.6.schema.json"
	bom.SerialNumber = serial(p.SHA256)
	program, err := own(p, b, info, source)
	if err != nil {
		return nil, err
	}
	bom.Metadata = &cdx.Metadata{
		Timestamp: b.Time.Format(time.RFC3339),
		Component: &program,
		Tools:     &cdx.ToolsChoice{Components: &[]cdx.Component{{Type: cdx.ComponentTypeApplication, Name: "hausmeister-release", Version: b.Version}}},
	}
	components := []cdx.Component{}
	std, err := standard(info.GoVersion, root)
	if err != nil {
		return nil, err
	}
	components = append(components, std)
	for _, m := range info.Deps {
		c, err := module(m, cache)
		if err != nil {
			return nil, err
		}
		components = append(components, c)
	}
	refs := []string{}
	for _, c := range components {
		refs = append(refs, c.BOMRef)
	}
	slices.Sort(refs)
	bom.Components = &components
	// What the linker took is flat: it does not say who asked for it.
	bom.Dependencies = &[]cdx.Dependency{{Ref: program.BOMRef, Dependencies: &refs}}
	var out bytes.Buffer
	enc := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON)
	enc.SetPretty(true)
	if err := enc.EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// serial is a UUID of version 8, made of the program's hash.
func serial(sha256Hex string) string {
	h, err := hex.DecodeString(sha256Hex)
	if err != nil || len(h) < 16 {
		return ""
	}
	h = h[:16]
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:])
}

func own(p Program, b Build, info *debug.BuildInfo, source string) (cdx.Component, error) {
	c := cdx.Component{
		Type: cdx.ComponentTypeApplication, BOMRef: "program", Name: strings.TrimSuffix(p.Name, ".exe"), Version: b.Version,
		Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: p.SHA256}, {Algorithm: cdx.HashAlgoSHA512, Value: p.SHA512}},
		Properties: &[]cdx.Property{{Name: "hausmeister:commit", Value: b.Commit}, {Name: "hausmeister:file", Value: p.File}, {Name: "hausmeister:platform", Value: p.OS + "/" + p.Arch}},
	}
	for _, s := range info.Settings {
		if s.Key == "-ldflags" || s.Key == "CGO_ENABLED" || s.Key == "-trimpath" {
			*c.Properties = append(*c.Properties, cdx.Property{Name: "go:build:" + s.Key, Value: s.Value})
		}
	}
	var err error
	c.Licenses, err = licences(source, "this repository")
	return c, err
}

// standard is the part of the program that comes with the compiler.
func standard(version, root string) (cdx.Component, error) {
	purl := "pkg:golang/std@" + strings.TrimPrefix(version, "go")
	c := cdx.Component{Type: cdx.ComponentTypeLibrary, BOMRef: purl, Name: "std", Version: version, PackageURL: purl, Scope: cdx.ScopeRequired}
	var err error
	c.Licenses, err = licences(root, "the standard library")
	if errors.Is(err, release.ErrNotFound) { // packaged compilers leave it elsewhere
		c.Licenses, err = &cdx.Licenses{{License: &cdx.License{ID: "BSD-3-Clause", Acknowledgement: cdx.LicenseAcknowledgementDeclared}}}, nil
	}
	return c, err
}

func module(m *debug.Module, cache string) (cdx.Component, error) {
	if m.Replace != nil {
		m = m.Replace
	}
	purl := "pkg:golang/" + m.Path + "@" + m.Version
	c := cdx.Component{Type: cdx.ComponentTypeLibrary, BOMRef: purl, Name: m.Path, Version: m.Version, PackageURL: purl, Scope: cdx.ScopeRequired,
		Properties: &[]cdx.Property{{Name: "go:sum", Value: m.Sum}}}
	escaped := escape(m.Path) + "@" + escape(m.Version)
	zip := filepath.Join(cache, "cache", "download", escape(m.Path), "@v", escape(m.Version)+".zip")
	data, err := os.ReadFile(zip)
	if err != nil {
		return c, fmt.Errorf("%w: %s as it came: go mod download fetches it: %w", release.ErrNotFound, m.Path, err)
	}
	a, b := sha256.Sum256(data), sha512.Sum512(data)
	c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(a[:])}, {Algorithm: cdx.HashAlgoSHA512, Value: hex.EncodeToString(b[:])}}
	c.Licenses, err = licences(filepath.Join(cache, escaped), m.Path)
	return c, err
}

// escape as the module cache does: capitals become ! and a small letter.
func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsUpper(r) {
			b.WriteByte('!')
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}

var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense)([.-].*)?$`)

// licences of a folder: what is recognised by its SPDX name, else with its text.
// A module without any is an error: nobody may hand it on.
func licences(dir, what string) (*cdx.Licenses, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	out := cdx.Licenses{}
	for _, e := range entries {
		if e.IsDir() || !licenceFile.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		l := &cdx.License{ID: spdx(string(text)), Acknowledgement: cdx.LicenseAcknowledgementConcluded}
		if l.ID == "" {
			l.Name = e.Name() + " of " + what
			l.Text = &cdx.AttachedText{ContentType: "text/plain", Encoding: "base64", Content: base64.StdEncoding.EncodeToString(text)}
		}
		if !slices.ContainsFunc(out, func(o cdx.LicenseChoice) bool { return o.License.ID == l.ID && l.ID != "" }) {
			out = append(out, cdx.LicenseChoice{License: l})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: a licence of %s in %s", release.ErrNotFound, what, dir)
	}
	return &out, nil
}

// spdx knows the licences that Go modules have, by sentences that no other has.
func spdx(text string) string {
	s := strings.ToLower(strings.Join(strings.Fields(text), " "))
	has := func(parts ...string) bool {
		for _, p := range parts {
			if !strings.Contains(s, p) {
				return false
			}
		}
		return true
	}
	switch {
	case has("apache license", "version 2.0, january 2004"):
		return "Apache-2.0"
	case has("mozilla public license", "2.0"):
		return "MPL-2.0"
	case has("redistribution and use in source and binary forms", "neither the name"):
		return "BSD-3-Clause"
	case has("redistribution and use in source and binary forms", "names of its contributors"):
		return "BSD-3-Clause"
	case has("redistribution and use in source and binary forms"):
		return "BSD-2-Clause"
	case has("permission is hereby granted, free of charge, to any person obtaining a copy", "the above copyright notice and this permission notice shall be included"):
		return "MIT"
	case has("permission to use, copy, modify, and/or distribute this software for any purpose"),
		has("permission to use, copy, modify, and distribute this software for any purpose"):
		return "ISC"
	case has("this software is provided 'as-is', without any express or implied warranty", "must not be misrepresented"):
		return "Zlib"
	case has("this is free and unencumbered software released into the public domain"):
		return "Unlicense"
	}
	return ""
}
