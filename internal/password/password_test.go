package password

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPlainTextIsOneLine(t *testing.T) {
	long := strings.Repeat("x", maxPlain)
	for text, want := range map[string]string{
		"secret":       "secret",
		"secret\n":     "secret",
		" two words ":  " two words ",
		"grün:\xff\n":  "grün:\xff",
		long + "\n":    long,
		"":             "the file is empty: want a password",
		"\n":           "the file is empty: want a password",
		"secret\n\n":   "the password has a control character, such as a tab or a second newline, in it",
		"secret\r\n":   "the password has a control character, such as a tab or a second newline, in it",
		"sec\x00ret":   "the password has a control character, such as a tab or a second newline, in it",
		long + "x\n":   "more than 511 bytes: not a password",
		long + "xyz\n": "more than 511 bytes: not a password",
	} {
		p, err := ReadPlain(strings.NewReader(text))
		got := p.text
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestHashIsThatOfCrypt(t *testing.T) {
	const wrong = "not the hash of a password as crypt(3) has it: $id$salt$hash"
	for text, want := range map[string]string{
		"$6$salt$hash\n":                "$6$salt$hash",
		"$y$j9T$salt$hash":              "$y$j9T$salt$hash",
		"$2b$05$abcdefghijklmnopqrstuv": "$2b$05$abcdefghijklmnopqrstuv",
		"":                              "the file is empty: want a password",
		"secret\n":                      wrong,
		"$6$salt$":                      wrong,
		"$6$sa:lt$hash":                 wrong,
		"$6$salt$hash\n\n":              wrong,
		"!$6$salt$hash":                 wrong,
		"root:$6$salt$hash:1::::::":     wrong,
	} {
		p, err := ReadHash(strings.NewReader(text))
		got := p.text
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
		if err == nil && p.Hash("seed") != want {
			t.Errorf("%q: the hash is %q", text, p.Hash("seed"))
		}
	}
}

// TestPasswordsAreNotShown formats passwords like logs and errors do.
func TestPasswordsAreNotShown(t *testing.T) {
	p := Password{text: "secret"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if got := fmt.Sprintf(format, p) + fmt.Sprintf(format, &p) + fmt.Sprintf(format, []Password{p}); strings.Contains(got, "secret") {
			t.Errorf("%s: %s", format, got)
		}
	}
}

// TestHash compares with another implementation.
func TestHash(t *testing.T) {
	p := Password{text: "secret"}
	got := p.Hash("seed")
	if got != p.Hash("seed") {
		t.Error("the same seed gives another hash")
	}
	other := p.Hash("seed of another image")
	salt := strings.Split(other, "$")[3]
	if strings.Contains(got, salt) {
		t.Error("another seed gives the same salt")
	}
	salt = strings.Split(got, "$")[3]
	if s := (Password{text: "other"}).Hash("seed"); !strings.HasPrefix(s, "$6$rounds=100000$"+salt+"$") || s == got {
		t.Errorf("the salt tells of the password: %s and %s", s, got)
	}
	if got := (Password{hashed: true, text: "$6$x$y"}).Hash("seed"); got != "$6$x$y" {
		t.Errorf("a hash became %s", got)
	}
	cmd := exec.Command("openssl", "passwd", "-6", "-salt", "rounds=100000$"+salt, "-stdin")
	cmd.Stdin = strings.NewReader("secret\n")
	want, err := cmd.Output()
	if err != nil {
		t.Skip("no openssl to compare with: ", err)
	}
	if string(want) != got+"\n" {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSet(t *testing.T) {
	const locked = "root was locked in the image: with its new password it is not any more"
	const added = "/etc/shadow had no line for root: one is added"
	for name, c := range map[string]struct{ old, want, note string }{
		"a hash":                   {"root:$6$old:19000:0:99999:7:::\nbin:*:1::::::\n", "root:HASH:19000:0:99999:7:::\nbin:*:1::::::\n", ""},
		"none":                     {"root::19000:0:99999:7:::\n", "root:HASH:19000:0:99999:7:::\n", ""},
		"locked":                   {"bin:*:1::::::\nroot:!:19000::::::\n", "bin:*:1::::::\nroot:HASH:19000::::::\n", locked},
		"locked with a hash":       {"root:!$6$old:19000::::::", "root:HASH:19000::::::", locked},
		"no password possible":     {"root:*::0:::::\n", "root:HASH::0:::::\n", locked},
		"expired":                  {"root:x:19000:::::1:\n", "root:HASH:19000:::::1:\n", `root's account expires, or has expired: day "1" after 1970-01-01, as /etc/shadow has it`},
		"a short line":             {"root:\r\n", "root:HASH\n", ""},
		"not root":                 {"xroot:*:::::::\nroots:*:::::::\n", "xroot:*:::::::\nroots:*:::::::\nroot:HASH:::::::\n", added},
		"no newline at the end":    {"bin:*:::::::", "bin:*:::::::\nroot:HASH:::::::\n", added},
		"nothing":                  {"", "root:HASH:::::::\n", added},
		"two lines: the first one": {"root:a:::::::\nroot:b:::::::\n", "root:HASH:::::::\nroot:b:::::::\n", ""},
		"bytes that are not text":  {"\x00\xff\n\n# root:\nroot:x:::::::\n\n", "\x00\xff\n\n# root:\nroot:HASH:::::::\n\n", ""},
	} {
		got, notes := Set([]byte(c.old), "HASH")
		if string(got) != c.want || strings.Join(notes, "\n") != c.note {
			t.Errorf("%s: got %q and %q, want %q and %q", name, got, notes, c.want, c.note)
		}
	}
}

func TestSetInDir(t *testing.T) {
	const old, want = "root:*:1::::::\nbin:*:1::::::\n", "root:HASH:1::::::\nbin:*:1::::::\n"
	when := time.Unix(1600000000, 123456789)
	for name, c := range map[string]struct {
		file  string            // path of the shadow file
		links map[string]string // links to create, by name
		err   string
	}{
		"plain":               {file: "etc/shadow"},
		"a link to a file":    {file: "var/shadow", links: map[string]string{"etc/shadow": "/var/shadow"}},
		"a link out":          {file: "var/shadow", links: map[string]string{"etc/shadow": "../../../../var/shadow"}},
		"a link to etc":       {file: "usr/etc/shadow", links: map[string]string{"etc": "usr/etc"}},
		"links of links":      {file: "b/shadow", links: map[string]string{"etc": "/a/..", "a": "b", "shadow": "b/shadow"}},
		"none":                {links: map[string]string{"etc/x": "y"}, err: "set the password of root: there is no /etc/shadow: a password of root would not be asked for"},
		"no etc":              {err: "set the password of root: there is no /etc/shadow: a password of root would not be asked for"},
		"a link to nothing":   {links: map[string]string{"etc/shadow": "/var/shadow"}, err: "set the password of root: there is no /etc/shadow: a password of root would not be asked for"},
		"a link to itself":    {links: map[string]string{"etc/shadow": "shadow"}, err: "set the password of root: etc/shadow in the tree: too many levels of symbolic links"},
		"a link to the root":  {links: map[string]string{"etc/shadow": "/"}, err: "set the password of root: etc/shadow in the tree: is a directory"},
		"a link to directory": {links: map[string]string{"etc/shadow": "x", "etc/x/y": "z"}, err: "set the password of root: /etc/shadow is not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := t.TempDir()
			at := func(name string) string {
				path := filepath.Join(tree, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				return path
			}
			if c.file != "" {
				path := at(c.file)
				if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := unix.Setxattr(path, "user.x", []byte("y"), 0); err != nil && err != unix.ENOTSUP {
					t.Fatal(err)
				}
				if err := os.Chtimes(path, when, when); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(path, 0); err != nil {
					t.Fatal(err)
				}
			}
			for link, target := range c.links {
				if err := os.Symlink(target, at(link)); err != nil {
					t.Fatal(err)
				}
			}
			notes, err := SetInDir(tree, "HASH")
			if c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Errorf("got %v, want %s", err, c.err)
				}
				return
			}
			if err != nil || len(notes) != 1 {
				t.Fatal(err, notes)
			}
			path := at(c.file)
			fi, err := os.Stat(path)
			if err != nil || fi.Mode() != 0 || !fi.ModTime().Equal(when) {
				t.Errorf("%v, mode %v, time %v", err, fi.Mode(), fi.ModTime())
			}
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != want {
				t.Errorf("%v: got %q", err, got)
			}
		})
	}
}
