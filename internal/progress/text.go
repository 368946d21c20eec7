package progress

// Clean makes text from outside fit to be shown: one line, printable, without credentials, and
// not endless. Everything this package writes has gone through it; replies go through it too.
func Clean(s string) string { return oneLine(s) }
