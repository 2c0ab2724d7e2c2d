package erase

import (
	"bytes"
	"testing"
)

type inner struct {
	words [4]uint32
	list  []byte
}

type outer struct {
	iface any
	ptr   *inner
	self  *outer
	fn    func()
	name  string
	more  []*inner
}

func TestObjectErasesWhatIsReachable(t *testing.T) {
	secret := []byte("round keys of some cipher")
	a := &inner{words: [4]uint32{1, 2, 3, 4}, list: secret[:3]}
	b := &inner{words: [4]uint32{5}}
	o := &outer{iface: a, ptr: b, fn: func() {}, name: "kept", more: []*inner{b, a}}
	o.self = o
	Object(o)
	if !bytes.Equal(secret, make([]byte, len(secret))) {
		t.Errorf("slice still holds %q", secret)
	}
	if a.words != [4]uint32{} || b.words != [4]uint32{} || o.ptr != nil || o.name != "" {
		t.Error("object still holds what it held")
	}
}

func TestObjectTakesNil(t *testing.T) {
	Object((*outer)(nil))
	Object(&outer{})
}
