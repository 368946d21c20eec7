//go:build !checked

package gunzip

import (
	"encoding/binary"
	"unsafe"
)

// Loads and stores of codes without bounds checks, which take a fifth of the time of decompression. All unsafe code is in
// this file; builds with the tag checked use the functions of checked.go instead.

func load8(b []byte, at int) byte { return array8(b, at)[0] }

func load64(b []byte, at int) uint64 { return binary.LittleEndian.Uint64(array8(b, at)[:]) }

func store64(b []byte, at int, v uint64) { binary.LittleEndian.PutUint64(array8(b, at)[:], v) }

func store8(b []byte, at int, v byte) { array8(b, at)[0] = v }

// copy16 copies 16 bytes as they were before the copy.
func copy16(b []byte, to, from int) { *array16(b, to) = *array16(b, from) }

func array8(b []byte, at int) *[8]byte { return (*[8]byte)(pointer(b, at)) }

func array16(b []byte, at int) *[16]byte { return (*[16]byte)(pointer(b, at)) }

func pointer(b []byte, at int) unsafe.Pointer {
	return unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), at) //nolint:gosec // see codes
}
