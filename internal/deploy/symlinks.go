package deploy

// symlinks are those of one layer. Removing a folder costs what it has below it, and no
// more, however many there are.
type symlinks struct {
	targets map[string]string          // by name
	folders map[string]map[string]bool // what is in a folder and is a link, or has one below it
}

// target returns what the symbolic link of that name leads to.
func (l *symlinks) target(name string) (string, bool) {
	t, ok := l.targets[name]
	return t, ok
}

// add remembers a symbolic link.
func (l *symlinks) add(name, target string) {
	l.targets[name] = target
	for at := name; at != "."; {
		parent, base := split(at)
		in := l.folders[parent]
		if in[base] {
			return
		}
		if in == nil {
			in = map[string]bool{}
			l.folders[parent] = in
		}
		in[base] = true
		at = parent
	}
}

// remove forgets the symbolic link of that name and, with all, those below it.
func (l *symlinks) remove(name string, all bool) {
	delete(l.targets, name)
	if !all {
		return
	}
	for base := range l.folders[name] {
		l.remove(join(name, base), true)
	}
	delete(l.folders, name)
	if parent, base := split(name); name != "." {
		delete(l.folders[parent], base)
	}
}
