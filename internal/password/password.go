// Package password sets the password of root in a tree.
//
// A password comes from a file, as plain text or as a hash; it is on no command line, and no error and
// no log has it. What is set is the second field of root's line in /etc/shadow: all other bytes stay. A line that is
// missing is added; a file that is missing is an error, since nothing says that the tree keeps passwords there.
//
// Plain text is hashed with SHA-512 as crypt(3) has it, in 100,000 rounds. The salt is derived from a seed, such
// as the digest of the image, so that the same input gives the same bytes. It is not derived from the password:
// a salt that is would let its readers test guesses with one hash in place of 100,000 rounds. So a table of
// guesses can be made for one image; a hash that was made elsewhere, with a random salt, avoids that.
package password

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/go-crypt/x/crypt"
)

// File is where passwords are, from the root of the tree.
const File = "etc/shadow"

const (
	rounds    = 100_000
	saltChars = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	saltSize  = 16  // the most that count
	maxPlain  = 511 // bytes that crypt(3) takes
	maxHash   = 383 // what it may return
)

// Password is a password, as plain text or as a hash. Formatted, it shows neither.
type Password struct {
	text   string
	hashed bool
}

// String keeps the password out of logs.
func (Password) String() string { return "(password)" }

// GoString keeps the password out of logs, too.
func (Password) GoString() string { return "(password)" }

// ReadPlain reads a password as plain text: all that r has, without one newline at the end.
func ReadPlain(r io.Reader) (Password, error) {
	text, err := readLine(r, maxPlain)
	if err != nil {
		return Password{}, err
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		return Password{}, errors.New("the password has a control character, such as a tab or a second newline, in it")
	}
	return Password{text: text}, nil
}

// ReadHash reads the hash of a password, as crypt(3) returns it: $id$salt$hash.
func ReadHash(r io.Reader) (Password, error) {
	text, err := readLine(r, maxHash)
	if err != nil {
		return Password{}, err
	}
	wrong := func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(":;*!\\", c) }
	parts := strings.Split(text, "$")
	if len(parts) < 4 || parts[0] != "" || parts[1] == "" || parts[len(parts)-1] == "" || strings.ContainsFunc(text, wrong) {
		return Password{}, errors.New("not the hash of a password as crypt(3) has it: $id$salt$hash")
	}
	return Password{text: text, hashed: true}, nil
}

// readLine reads up to most bytes and one newline.
func readLine(r io.Reader, most int) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(most)+2))
	if err != nil {
		return "", err
	}
	b = bytes.TrimSuffix(b, []byte("\n"))
	switch {
	case len(b) == 0:
		return "", errors.New("the file is empty: want a password")
	case len(b) > most:
		return "", fmt.Errorf("more than %d bytes: not a password", most)
	}
	return string(b), nil
}

// Hash returns the password as /etc/shadow has it. The salt of plain text is derived from the seed.
func (p Password) Hash(seed string) string {
	if p.hashed {
		return p.text
	}
	sum := sha256.Sum256([]byte("salt of root's password\x00" + seed))
	salt := make([]byte, saltSize)
	for i := range salt {
		salt[i] = saltChars[sum[i]%64]
	}
	return fmt.Sprintf("$6$rounds=%d$%s$%s", rounds, salt, crypt.KeySHACrypt(sha512.New, []byte(p.text), salt, rounds))
}

// Set puts a hash into root's line of a shadow file. It returns the new content, and what the user should
// know about the account.
func Set(shadow []byte, hash string) (changed []byte, notes []string) {
	for at := 0; at < len(shadow); {
		end := at + len(shadow[at:])
		if i := bytes.IndexByte(shadow[at:], '\n'); i >= 0 {
			end = at + i
		}
		rest, ok := bytes.CutPrefix(shadow[at:end], []byte("root:"))
		if !ok {
			at = end + 1
			continue
		}
		fields := strings.Split(string(rest), ":")
		if old := fields[0]; strings.HasPrefix(old, "!") || strings.HasPrefix(old, "*") {
			notes = append(notes, "root was locked in the image: with its new password it is not any more")
		}
		if len(fields) > 6 && fields[6] != "" {
			notes = append(notes, fmt.Sprintf("root's account expires, or has expired: day %.20q after 1970-01-01, as /etc/shadow has it", fields[6]))
		}
		changed = append(changed, shadow[:at]...)
		changed = append(changed, "root:"+hash...)
		return append(changed, shadow[at+len("root:")+len(fields[0]):]...), notes
	}
	changed = append(changed, shadow...)
	if len(changed) > 0 && changed[len(changed)-1] != '\n' {
		changed = append(changed, '\n')
	}
	changed = append(changed, "root:"+hash+":::::::\n"...)
	return changed, []string{"/etc/shadow had no line for root: one is added"}
}
