// Package panics makes a panic an error. A panic ends the process with all that its other goroutines
// were doing; what goes wrong with one image or one blob is no reason for that. A goroutine that works on
// data from outside calls Catch. Goroutines that only wait, count or print do not.
package panics

import "fmt"

// Catch calls f and returns its error, or an error that says what f panicked with.
func Catch(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("internal error: %v; please report it", p)
		}
	}()
	return f()
}
