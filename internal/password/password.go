// Package password sets root's password in a tree.
//
// The password is read from a file, as plain text or as a hash; it never appears on a command line, in an error or in a
// log. Only the second field of root's line in /etc/shadow changes. A missing line is added; a missing file is an error,
// since the tree may store passwords elsewhere.
//
// Plain text is hashed with SHA-512 crypt in 100,000 rounds. The salt is derived from a seed, such as the digest of the
// image, so that the same input gives the same bytes. It is not derived from the password: such a salt would allow testing
// a guess with one hash instead of 100,000 rounds. An attacker can still precompute guesses for one image; a hash made
// elsewhere, with a random salt, prevents that.
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

// File is the path of the shadow file in a tree.
const File = "etc/shadow"

const (
	rounds    = 100_000
	saltChars = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	saltSize  = 16  // maximum number of significant characters
	maxPlain  = 511 // maximum length for crypt(3), in bytes
	maxHash   = 383 // maximum length of a hash from crypt(3), in bytes
)

// Password is a password, as plain text or as a hash. Formatting it shows neither.
type Password struct {
	text   string
	hashed bool
}

// String implements fmt.Stringer without the password.
func (Password) String() string { return "(password)" }

// GoString implements fmt.GoStringer without the password.
func (Password) GoString() string { return "(password)" }

// ReadPlain reads a plain-text password: everything in r except one trailing newline.
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

// ReadHash reads a password hash in the format of crypt(3): $id$salt$hash.
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

// readLine reads at most most bytes and one newline.
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

// Hash returns the password as stored in /etc/shadow. For plain text, the salt is derived from the seed.
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

// Set sets the hash in root's line of a shadow file. It returns the new content, and notes for the user about the account.
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
