// Package panics turns panics into errors. An unrecovered panic ends the process and all its other work, so every
// goroutine that handles data from outside calls [Catch]: a fault in one image or blob must not affect the others.
// Goroutines that only wait, count or print do not need it.
package panics

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
)

// Debug is the environment variable that, when set, makes [Stack] return stacks.
const Debug = "OSBUILD_CONTAINERS_DEBUG"

// Error is a recovered panic.
type Error struct {
	Value any
	stack []byte
}

// Error asks the user to report the panic.
func (e *Error) Error() string { return fmt.Sprintf("internal error: %v; please report it", e.Value) }

// Catch calls f and returns its error, or an [*Error] if f panics.
func Catch(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &Error{Value: p, stack: debug.Stack()}
		}
	}()
	return f()
}

// Stack returns the stack of the panic that caused err. It is "" if there was no panic or [Debug] is not set.
func Stack(err error) string {
	if p, ok := errors.AsType[*Error](err); ok && os.Getenv(Debug) != "" {
		return string(p.stack)
	}
	return ""
}
