package manifest

import "fmt"

// MaxSignatures is the maximum number of signatures of an image. It equals containers/image's limit for a lookaside.
const MaxSignatures = 127

// CheckSignatures refuses more than MaxSignatures signatures of an image, or more than MaxSize bytes in total, since all are
// held in memory.
func CheckSignatures(n int, bytes int64) error {
	if n > MaxSignatures {
		return fmt.Errorf("there are more than %d", MaxSignatures)
	}
	if bytes > MaxSize {
		return fmt.Errorf("they are longer than %d bytes together", MaxSize)
	}
	return nil
}
