package deploy

import (
	"hash/maphash"
	"strings"
	"unsafe"
)

// A trie holds paths, each as its last component and its parent, so a prefix is stored once for all
// paths that share it. Nodes are never removed, and their addresses do not change. They refer to
// each other by number, which takes half the memory of a pointer and is not followed by the garbage
// collector.
//
// Children are found through one hash table for the whole trie, because a map in each directory
// would take more memory than the rest of a path.
type trie[T any] struct {
	chunks [][]node[T]
	count  uint32
	slots  []uint32 // the hash table: numbers of nodes; 0, the root's, is an empty slot
	seed   maphash.Seed
	names  strings.Builder // the names of many nodes share one allocation
}

// node is one path.
type node[T any] struct {
	name       string // the last component
	id, parent uint32
	kid, next  uint32 // the list of children, see list
	depth      uint16 // in components
	length     uint16 // in bytes
	listed     bool   // it is in its parent's list of children
	v          T
}

const (
	chunkNodes = 256
	nameChunk  = 16 << 10
)

func newTrie[T any]() *trie[T] {
	t := &trie[T]{seed: maphash.MakeSeed(), slots: make([]uint32, 64)}
	t.alloc().name = "."
	return t
}

// cost returns the memory that a path takes without its name: the node, and its slot in a hash
// table that is at least three eighths full.
func (t *trie[T]) cost() int64 { return int64(unsafe.Sizeof(node[T]{})) + 11 }

func (t *trie[T]) root() *node[T] { return &t.chunks[0][0] }

func (t *trie[T]) at(id uint32) *node[T] {
	return &t.chunks[id/chunkNodes][id%chunkNodes]
}

// parent returns the parent of n; that of the root is the root.
func (t *trie[T]) parent(n *node[T]) *node[T] { return t.at(n.parent) }

func (t *trie[T]) alloc() *node[T] {
	if t.count%chunkNodes == 0 {
		t.chunks = append(t.chunks, make([]node[T], chunkNodes))
	}
	n := t.at(t.count)
	n.id = t.count
	t.count++
	return n
}

// child returns the path of base in p, nil if it does not exist.
func (t *trie[T]) child(p *node[T], base string) *node[T] {
	for i := t.hash(p.id, base); ; i++ {
		id := t.slots[i&uint64(len(t.slots)-1)]
		if id == 0 {
			return nil
		}
		if n := t.at(id); n.parent == p.id && n.name == base {
			return n
		}
	}
}

// add creates the path of base in p, which must not exist.
func (t *trie[T]) add(p *node[T], base string) *node[T] {
	if int(t.count) >= len(t.slots)/4*3 {
		t.grow()
	}
	n := t.alloc()
	n.name, n.parent, n.depth = t.keep(base), p.id, p.depth+1
	n.length = p.length + uint16(len(base))
	if p.depth > 0 {
		n.length++ // the slash
	}
	t.insert(n)
	return n
}

// list adds n to its parent's list of children, unless it is listed already.
func (t *trie[T]) list(n *node[T]) {
	if !n.listed {
		p := t.parent(n)
		n.next, p.kid, n.listed = p.kid, n.id, true
	}
}

// unlist empties the list of p's children, calling do with each of them.
func (t *trie[T]) unlist(p *node[T], do func(n *node[T]) error) error {
	for p.kid != 0 {
		n := t.at(p.kid)
		p.kid, n.next, n.listed = n.next, 0, false
		if err := do(n); err != nil {
			return err
		}
	}
	return nil
}

func (t *trie[T]) insert(n *node[T]) {
	for i := t.hash(n.parent, n.name); ; i++ {
		if s := &t.slots[i&uint64(len(t.slots)-1)]; *s == 0 {
			*s = n.id
			return
		}
	}
}

func (t *trie[T]) grow() {
	t.slots = make([]uint32, 2*len(t.slots))
	for id := uint32(1); id < t.count; id++ {
		t.insert(t.at(id))
	}
}

func (t *trie[T]) hash(parent uint32, base string) uint64 {
	h := (maphash.String(t.seed, base) + uint64(parent)) * 0x9e3779b97f4a7c15
	return h ^ h>>32
}

// keep copies a name, which may be a substring of a longer text.
func (t *trie[T]) keep(name string) string {
	if t.names.Len()+len(name) > t.names.Cap() {
		t.names = strings.Builder{}
		t.names.Grow(max(nameChunk, len(name)))
	}
	at := t.names.Len()
	t.names.WriteString(name)
	return t.names.String()[at:]
}

// path returns the full name of n.
func (t *trie[T]) path(n *node[T]) string {
	if n.depth <= 1 {
		return n.name
	}
	b := make([]byte, n.length)
	for at := len(b); ; n = t.parent(n) {
		at -= len(n.name)
		copy(b[at:], n.name)
		if at == 0 {
			return string(b)
		}
		at--
		b[at] = '/'
	}
}

// find returns the node of a clean name, nil if it does not exist.
func (t *trie[T]) find(name string) *node[T] {
	n := t.root()
	if name == "." {
		return n
	}
	for n != nil && name != "" {
		var base string
		base, name = cut(name)
		n = t.child(n, base)
	}
	return n
}
