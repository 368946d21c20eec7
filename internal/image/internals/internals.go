// Package internals accesses parts of containers/image that the library does not export. Everything that depends on the
// library's implementation rather than its API belongs here: one file per trick, which states its assumptions.
//
// If an assumption does not hold, the call returns an error; it never guesses. The tests fail when an update of the
// library breaks an assumption.
package internals

import (
	"fmt"
	"reflect"
)

// shapeError reports that a type of the library differs from what is assumed here.
type shapeError struct{ what string }

func (e *shapeError) Error() string {
	return "internal error: this version of containers/image is not supported: " + e.what
}

// field returns a field of an addressable struct, readable and writable, if it has the given kind.
func field(v reflect.Value, name string, kind reflect.Kind) (reflect.Value, error) {
	if v.Kind() != reflect.Struct {
		return reflect.Value{}, &shapeError{fmt.Sprintf("%s is not a struct", v.Type())}
	}
	f := v.FieldByName(name)
	if !f.IsValid() || f.Kind() != kind {
		return reflect.Value{}, &shapeError{fmt.Sprintf("%s has no field %s of kind %s", v.Type(), name, kind)}
	}
	return reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem(), nil
}

// set sets a field to a value of its type or of one that converts to it.
func set(v reflect.Value, name string, to reflect.Value) error {
	f, err := field(v, name, to.Kind())
	if err != nil {
		return err
	}
	if !to.Type().ConvertibleTo(f.Type()) {
		return &shapeError{fmt.Sprintf("%s.%s is a %s, not a %s", v.Type(), name, f.Type(), to.Type())}
	}
	f.Set(to.Convert(f.Type()))
	return nil
}
