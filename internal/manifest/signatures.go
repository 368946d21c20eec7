package manifest

import "fmt"

// MaxSignatures is how many signatures an image may have. containers/image has the same limit for those
// of a lookaside.
const MaxSignatures = 127

// CheckSignatures refuses more than MaxSignatures signatures of an image, or more than MaxSize bytes of them
// together: all of them are held in memory.
func CheckSignatures(n int, bytes int64) error {
	if n > MaxSignatures {
		return fmt.Errorf("there are more than %d", MaxSignatures)
	}
	if bytes > MaxSize {
		return fmt.Errorf("they are longer than %d bytes together", MaxSize)
	}
	return nil
}
