package main

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"osbuild-containers/internal/cli"
)

// addCommand adds the pages of a command and its subcommands.
func (m manual) addCommand(cmd *cobra.Command) {
	cmd.InitDefaultHelpFlag()
	cmd.InitDefaultVersionFlag()
	path := strings.TrimPrefix(strings.TrimPrefix(cmd.CommandPath(), cli.Name), " ")
	p := newPage(pageName(cmd), "1", m.date, strings.ToLower(cmd.Short[:1])+cmd.Short[1:])

	p.section("SYNOPSIS")
	if cmd.HasParent() && !onlyHelps(cmd) {
		p.text.WriteString(synopsis(cmd) + "\n")
	}
	if cmd.HasAvailableSubCommands() {
		if cmd.HasParent() && !onlyHelps(cmd) {
			p.text.WriteString(".br\n")
		}
		p.text.WriteString(bold(cmd.CommandPath()) + " " + italic("COMMAND") + " ...\n")
	}
	p.section("DESCRIPTION")
	p.prose(cmp.Or(cmd.Long, cmd.Short+"."))
	addSubcommands(p, cmd)

	p.section("OPTIONS")
	cmd.InheritedFlags() // merges them into Flags
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			addFlag(p, f)
		}
	})
	p.section("EXIT STATUS")
	for _, s := range statuses {
		if s.command == "" || s.command == path || path == "" {
			text := s.text
			if path == "" && s.command != "" {
				text = "`" + s.command + "`: " + text
			}
			p.entry(bold(s.status), text)
		}
	}
	has := func(t topic) bool {
		return path == "" || slices.Contains(t.commands, path) || slices.ContainsFunc(t.flags, func(f string) bool { return cmd.Flags().Lookup(f) != nil })
	}
	for _, s := range []struct {
		title  string
		topics []topic
	}{{"FILES", files}, {"ENVIRONMENT", variables}} {
		topics := slices.DeleteFunc(slices.Clone(s.topics), func(t topic) bool { return !has(t) })
		if len(topics) > 0 {
			p.section(s.title)
		}
		for _, t := range topics {
			p.entry(italic(t.name), t.text)
		}
	}
	if cmd.Example != "" {
		p.section("EXAMPLES")
		p.example(cmd.Example)
	}
	p.section("SEE ALSO")
	var also []string
	for at := cmd.Parent(); at != nil; at = at.Parent() {
		also = append([]string{reference(pageName(at), "1")}, also...)
	}
	for _, t := range related {
		if has(t) {
			also = append(also, t.name)
		}
	}
	p.text.WriteString(strings.Join(also, ",\n") + "\n")
	m.pages["man1/"+pageName(cmd)+".1"] = p

	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			m.addCommand(sub)
		}
	}
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// onlyHelps reports whether a command only shows its help, since all work is done by its subcommands.
func onlyHelps(cmd *cobra.Command) bool {
	return cmd.HasAvailableSubCommands() && !strings.Contains(cmd.Use, " ")
}

// placeholder matches a placeholder for an argument.
var placeholder = regexp.MustCompile(`\b[A-Z][A-Z0-9]*\b`)

func synopsis(cmd *cobra.Command) string {
	_, arguments, _ := strings.Cut(cmd.Use, " ")
	if arguments == strings.ToLower(arguments) { // words, not placeholders
		arguments = bold(arguments)
	} else {
		arguments = placeholder.ReplaceAllString(escape(arguments), `\fI$0\fR`)
	}
	return strings.TrimSpace(bold(cmd.CommandPath()) + " [" + italic("flags") + "] " + arguments)
}

func addSubcommands(p *page, cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	p.section("COMMANDS")
	add := func(group string) {
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() && sub.GroupID == group {
				p.entry(reference(pageName(sub), "1"), sub.Short+".")
			}
		}
	}
	for _, g := range cmd.Groups() {
		p.subsection(strings.TrimSuffix(g.Title, ":"))
		add(g.ID)
	}
	if len(cmd.Groups()) > 0 {
		p.subsection("Others")
	}
	add("")
}

// addFlag adds a flag with the text of its help.
func addFlag(p *page, f *pflag.Flag) {
	tag := bold("--" + f.Name)
	if f.Shorthand != "" {
		tag = bold("-"+f.Shorthand) + ", " + tag
	}
	value, usage := pflag.UnquoteUsage(f)
	switch {
	case f.Value.Type() != "bool":
		tag += "=" + italic(value)
	case f.DefValue == "true":
		tag += "[=" + italic("true") + "|" + italic("false") + "]"
	}
	if strings.Contains(f.Usage, "`") {
		usage = f.Usage
	}
	usage = strings.ToUpper(usage[:1]) + usage[1:]
	if !slices.Contains([]string{"", "false", "[]"}, f.DefValue) {
		usage += " (default " + f.DefValue + ")"
	}
	p.entry(tag, strings.TrimSuffix(usage, ".")+".")
}
