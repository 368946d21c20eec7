// Package internals reaches into parts of containers/image that the library does not export. All that depends on
// how the library is written inside, and not on its interface, belongs here: one file for each thing that is
// reached, which says what it assumes of the library.
//
// An assumption that no longer holds is an error of the call that needs it, and never a guess. The tests fail on
// the day an update of the library breaks one.
package internals

import (
	"fmt"
	"reflect"
)

// shapeError reports a type of the library that is not as it is assumed here.
type shapeError struct{ what string }

func (e *shapeError) Error() string {
	return "internal error: this version of containers/image is not supported: " + e.what
}

// field returns the field of an addressable struct, for reading and writing, if it has the kind that is assumed.
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

// set sets a field to a value of exactly the field's type, or of one that converts to it.
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
