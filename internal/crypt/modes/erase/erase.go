// Package erase overwrites the cipher objects of other modules, which hold
// round keys and have no method that wipes them.
package erase

import (
	"reflect"
	"unsafe"
)

// Object overwrites with zeros what p points to, and what is reachable from
// there through pointers, interfaces, slices and arrays, exported or not. It
// is for objects made for one key: what such an object shares with others
// must be immutable strings or functions, which stay.
func Object(p any) { erase(reflect.ValueOf(p), make(map[unsafe.Pointer]bool)) }

func erase(v reflect.Value, seen map[unsafe.Pointer]bool) {
	switch v.Kind() {
	case reflect.Interface:
		erase(v.Elem(), seen)
	case reflect.Pointer:
		if p := v.UnsafePointer(); p != nil && !seen[p] {
			seen[p] = true
			// NewAt gives a settable value where v came from an unexported field.
			target := reflect.NewAt(v.Type().Elem(), p).Elem()
			erase(target, seen)
			target.SetZero()
		}
	case reflect.Struct:
		for i := range v.NumField() {
			erase(v.Field(i), seen)
		}
	case reflect.Array:
		if refers(v.Type().Elem()) {
			for i := range v.Len() {
				erase(v.Index(i), seen)
			}
		}
	case reflect.Slice:
		eraseSlice(v, seen)
	}
}

func eraseSlice(v reflect.Value, seen map[unsafe.Pointer]bool) {
	if v.Cap() == 0 {
		return
	}
	all := reflect.SliceAt(v.Type().Elem(), v.UnsafePointer(), v.Cap())
	if refers(v.Type().Elem()) {
		for i := range all.Len() {
			erase(all.Index(i), seen)
		}
	}
	all.Clear()
}

// refers reports whether a value of the type may lead to other memory.
func refers(t reflect.Type) bool { return t.Kind() >= reflect.Array }
