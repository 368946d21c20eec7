//go:build checked

package gunzip

import "encoding/binary"

// The functions of unchecked.go, with checks.

func load8(b []byte, at int) byte { return b[at] }

func load64(b []byte, at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }

func store64(b []byte, at int, v uint64) { binary.LittleEndian.PutUint64(b[at:], v) }

func store8(b []byte, at int, v byte) { b[at] = v }

func copy16(b []byte, to, from int) { *(*[16]byte)(b[to:]) = [16]byte(b[from:]) }
