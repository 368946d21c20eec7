package compression

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
)

// packed returns data compressed by the library.
func packed(t testing.TB, c xz.WriterConfig, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := c.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// asking returns a stream with one block that declares another dictionary size.
func asking(t testing.TB, code byte) []byte {
	t.Helper()
	s := packed(t, xz.WriterConfig{}, []byte("data"))
	head := s[xz.HeaderLen:][:4*(int(s[xz.HeaderLen])+1)]
	if head[1] != 0 || head[2] != 0x21 {
		t.Fatalf("the header of the block is %x", head)
	}
	head[4] = code
	binary.LittleEndian.PutUint32(head[len(head)-4:], crc32.ChecksumIEEE(head[:len(head)-4]))
	return s
}

func someData() []byte {
	data := make([]byte, 300_000)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = "ab\x00cdefg"[rnd.IntN(8)]
	}
	return slices.Concat(data, data[:70_000])
}

// Everything the library writes can be read: one or more blocks and streams, with each checksum.
func TestXz(t *testing.T) {
	data := someData()
	one := packed(t, xz.WriterConfig{}, data)
	for name, in := range map[string][]byte{
		"one block":    one,
		"no data":      append(packed(t, xz.WriterConfig{}, nil), one...),
		"blocks":       packed(t, xz.WriterConfig{BlockSize: 100_000}, data),
		"crc32":        packed(t, xz.WriterConfig{CheckSum: xz.CRC32}, data),
		"sha256":       packed(t, xz.WriterConfig{CheckSum: xz.SHA256}, data),
		"no check":     packed(t, xz.WriterConfig{NoCheckSum: true}, data),
		"two streams":  slices.Concat(packed(t, xz.WriterConfig{}, data[:1000]), packed(t, xz.WriterConfig{}, data[1000:])),
		"padding":      slices.Concat(packed(t, xz.WriterConfig{}, data[:1000]), make([]byte, 8), packed(t, xz.WriterConfig{}, data[1000:]), make([]byte, 4)),
		"a dictionary": packed(t, xz.WriterConfig{DictCap: 1 << 16}, data),
	} {
		if got, err := io.ReadAll(newXz(bytes.NewReader(in))); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: got %d bytes, %v", name, len(got), err)
		}
	}
}

// A block that requires more memory than MaxWindow is refused at any position, before memory is allocated.
func TestXzDictionary(t *testing.T) {
	const most = 30 // the code of 128 MiB
	if _, err := io.ReadAll(newXz(bytes.NewReader(asking(t, most)))); err != nil {
		t.Errorf("a dictionary of the limit: %v", err)
	}
	for code := byte(most + 1); code <= 40; code++ {
		for _, before := range [][]byte{nil, packed(t, xz.WriterConfig{}, []byte("before"))} {
			_, err := io.ReadAll(newXz(bytes.NewReader(append(before, asking(t, code)...))))
			if err == nil || !strings.Contains(err.Error(), "more than the limit of 134217728") {
				t.Errorf("code %d after %d bytes: got %v", code, len(before), err)
			}
		}
	}
}

// TestXzEmptyBlocks checks that blocks without data cannot allocate one dictionary after the other.
func TestXzEmptyBlocks(t *testing.T) {
	one := asking(t, 30)
	_, err := io.ReadAll(newXz(bytes.NewReader(bytes.Repeat(one, maxDictionaries/MaxWindow+1))))
	if err == nil || !strings.Contains(err.Error(), "more than the limit") {
		t.Errorf("got %v", err)
	}
}

// A stream truncated anywhere is an error, and a damaged one is never read without an error.
func TestXzDamage(t *testing.T) {
	whole := packed(t, xz.WriterConfig{BlockSize: 200}, someData()[:500])
	for n := 1; n < len(whole); n++ {
		if _, err := io.ReadAll(newXz(bytes.NewReader(whole[:n]))); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut after %d of %d bytes: got %v", n, len(whole), err)
		}
		bad := bytes.Clone(whole)
		bad[n] ^= 1
		if got, err := io.ReadAll(newXz(bytes.NewReader(bad))); err == nil && !bytes.Equal(got, someData()[:500]) {
			t.Fatalf("byte %d is changed: got other data and no error", n)
		}
	}
}

// FuzzXz compares the output with the library's.
func FuzzXz(f *testing.F) {
	f.Add(packed(f, xz.WriterConfig{BlockSize: 200}, someData()[:500]))
	f.Add(append(packed(f, xz.WriterConfig{CheckSum: xz.SHA256}, []byte("a")), make([]byte, 4)...))
	f.Add(asking(f, 31))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := io.ReadAll(io.LimitReader(newXz(bytes.NewReader(in)), 1<<20))
		if errors.Is(err, io.ErrUnexpectedEOF) || err != nil && strings.Contains(err.Error(), "more than the limit") {
			return // the library accepts some truncated streams
		}
		r, e := xz.NewReader(bytes.NewReader(in))
		if e != nil {
			return
		}
		if want, e := io.ReadAll(io.LimitReader(r, 1<<20)); e == nil && (err != nil || !bytes.Equal(got, want)) {
			t.Errorf("got %d bytes, %v; the library reads %d", len(got), err, len(want))
		}
	})
}
