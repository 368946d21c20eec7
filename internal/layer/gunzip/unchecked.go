//go:build !checked

package gunzip

import (
	"encoding/binary"
	"unsafe"
)

// The loads and stores of codes, without the checks of their bounds. These take a fifth
// of the time that decompression takes. All unsafe code is in this file; builds with
// the tag checked use the same functions of checked.go instead.

func load64(b []byte, at int) uint64 { return binary.LittleEndian.Uint64(array8(b, at)[:]) }

func store64(b []byte, at int, v uint64) { binary.LittleEndian.PutUint64(array8(b, at)[:], v) }

func store8(b []byte, at int, v byte) { array8(b, at)[0] = v }

// copy16 copies what 16 bytes at from are before any is written.
func copy16(b []byte, to, from int) { *array16(b, to) = *array16(b, from) }

func array8(b []byte, at int) *[8]byte { return (*[8]byte)(pointer(b, at)) }

func array16(b []byte, at int) *[16]byte { return (*[16]byte)(pointer(b, at)) }

func pointer(b []byte, at int) unsafe.Pointer {
	return unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), at) //nolint:gosec // see codes
}
