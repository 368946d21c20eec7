package main

import (
	"fmt"
	"regexp"
	"strings"
)

// page is a manual page in the macros of man(7).
type page struct {
	text strings.Builder
}

// newPage begins a page; about is the line in which whatis(1) finds it. date may be "".
func newPage(name, section, date, about string) *page {
	manual := map[string]string{"1": "User Commands", "5": "File Formats", "8": "Modules of osbuild"}[section]
	if 2*len(name)+len(manual) > 60 { // no room in the header between the two names
		manual = ""
	}
	p := &page{}
	fmt.Fprintf(&p.text, ".TH %s %s %q %q %q\n.nh\n.ad l\n", escape(strings.ToUpper(name)), section, date, "osbuild-containers", manual)
	p.section("NAME")
	p.text.WriteString(escape(name) + ` \- ` + escape(about) + "\n")
	return p
}

func (p *page) section(title string)    { fmt.Fprintf(&p.text, ".SH %s\n", escape(title)) }
func (p *page) subsection(title string) { fmt.Fprintf(&p.text, ".SS %s\n", escape(title)) }

// prose writes paragraphs. They are separated by empty lines in text.
func (p *page) prose(text string) {
	for n, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if n > 0 {
			p.text.WriteString(".PP\n")
		}
		p.lines(styled(paragraph))
	}
}

// entry writes a tagged paragraph. The tag is in roff.
func (p *page) entry(tag, text string) {
	p.text.WriteString(".TP\n" + tag + "\n")
	p.lines(styled(text))
}

// below calls write, and indents what it writes.
func (p *page) below(write func()) {
	p.text.WriteString(".RS\n")
	write()
	p.text.WriteString(".RE\n")
}

// example writes text verbatim.
func (p *page) example(text string) {
	p.text.WriteString(".RS 2\n.EX\n")
	p.lines(escape(dedent(text)))
	p.text.WriteString(".EE\n.RE\n.nh\n") // the end of an example allows hyphens again
}

// lines writes lines, and protects those that would be taken for macros.
func (p *page) lines(roff string) {
	for line := range strings.Lines(strings.TrimRight(roff, "\n") + "\n") {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			p.text.WriteString(`\&`)
		}
		p.text.WriteString(line)
	}
}

// dedent removes the indentation of the first line from all lines.
func dedent(text string) string {
	text = strings.Trim(text, "\n")
	indent := text[:len(text)-len(strings.TrimLeft(text, " "))]
	return strings.TrimPrefix(strings.ReplaceAll(text, "\n"+indent, "\n"), indent)
}

// escape makes roff show text verbatim, with ASCII dashes and quotes, which can be pasted.
var escape = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "…", "...").Replace

func bold(text string) string   { return `\fB` + escape(text) + `\fR` }
func italic(text string) string { return `\fI` + escape(text) + `\fR` }

// marked matches the parts of a text that are not prose: text in backquotes, flags, and placeholders such as FILE.
var marked = regexp.MustCompile("`[^`\n]+`|\\B--?[a-z][a-z-]*\\b|\\b(?:DIR|FILE|REF|NAME|TAG|ID|DEST|IMAGE|LIBDIR|PATH|SIZE|TIME)\\b")

// styled returns a text in roff, with bold and italic parts.
func styled(text string) string {
	var b strings.Builder
	end := 0
	for _, at := range marked.FindAllStringIndex(text, -1) {
		b.WriteString(escape(text[end:at[0]]))
		end = at[1]
		switch word := text[at[0]:at[1]]; word[0] {
		case '`':
			if word = word[1 : len(word)-1]; word == strings.ToUpper(word) {
				b.WriteString(italic(word))
			} else {
				b.WriteString(bold(word))
			}
		case '-':
			b.WriteString(bold(word))
		default:
			b.WriteString(italic(word))
		}
	}
	return b.String() + escape(text[end:])
}

// reference returns a reference to a page, such as osbuild(1).
func reference(name, section string) string { return bold(name) + "(" + section + ")" }
