package keystore

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// field is one field of a message as it stands in the file.
type field struct {
	num protowire.Number
	typ protowire.Type
	raw []byte // tag and value
	val []byte // value; of a length-delimited field without the length
}

// message is a protobuf message as a list of its fields, known or not. Editing
// it changes what the edit names, and its bytes are otherwise as they were.
type message []field

// parseMessage splits b, which the message refers to from then on.
func parseMessage(b []byte) (message, error) {
	var m message
	for len(b) > 0 {
		num, typ, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			return nil, protowire.ParseError(tag)
		}
		n := protowire.ConsumeFieldValue(num, typ, b[tag:])
		if n < 0 {
			return nil, fmt.Errorf("field %d: %w", num, protowire.ParseError(n))
		}
		f := field{num: num, typ: typ, raw: b[: tag+n : tag+n], val: b[tag : tag+n : tag+n]}
		if typ == protowire.BytesType {
			f.val, _ = protowire.ConsumeBytes(f.val) // it was consumed above
		}
		m = append(m, f)
		b = b[tag+n:]
	}
	return m, nil
}

// bytes is the message in wire form.
func (m message) bytes() []byte {
	var b []byte
	for _, f := range m {
		b = append(b, f.raw...)
	}
	return b
}

// varint is the value of a number, 0 if it is not there. As protobuf has it,
// the last one counts where there are several, and a field of another type
// than expected is an unknown one.
func (m message) varint(num protowire.Number) uint64 {
	var v uint64
	for _, f := range m {
		if f.num == num && f.typ == protowire.VarintType {
			v, _ = protowire.ConsumeVarint(f.val) // it was consumed by parseMessage
		}
	}
	return v
}

// data is the value of a string or byte field, nil if it is not there.
func (m message) data(num protowire.Number) []byte {
	var v []byte
	for _, f := range m {
		if f.num == num && f.typ == protowire.BytesType {
			v = f.val
		}
	}
	return v
}

// all are the values of a repeated field.
func (m message) all(num protowire.Number) [][]byte {
	var out [][]byte
	for _, f := range m {
		if f.num == num && f.typ == protowire.BytesType {
			out = append(out, f.val)
		}
	}
	return out
}

// sub is an embedded message, nil if it is not there. Where there are several
// they count as one, with the fields of all.
func (m message) sub(num protowire.Number) (message, error) {
	all := m.all(num)
	if all == nil {
		return nil, nil
	}
	s, err := parseMessage(bytes.Join(all, nil))
	if err != nil {
		return nil, err
	}
	if s == nil {
		s = message{} // there, and empty
	}
	return s, nil
}

// setVarint makes a number read v. A field is not written to hold 0.
func (m *message) setVarint(num protowire.Number, v uint64) {
	if m.varint(num) == v {
		return
	}
	at := m.drop(num, protowire.VarintType)
	if v != 0 {
		m.insert(at, num, protowire.VarintType, protowire.AppendVarint(nil, v))
	}
}

// setData makes a string, byte or message field read v. An empty v removes it.
func (m *message) setData(num protowire.Number, v []byte) {
	if old := m.all(num); len(old) == 1 && bytes.Equal(old[0], v) {
		return
	}
	at := m.drop(num, protowire.BytesType)
	if len(v) > 0 {
		m.insert(at, num, protowire.BytesType, protowire.AppendBytes(nil, v))
	}
}

// add appends a value to a repeated field.
func (m *message) add(num protowire.Number, v []byte) {
	m.insert(m.place(num), num, protowire.BytesType, protowire.AppendBytes(nil, v))
}

// removeNth takes the n-th value out of a repeated field.
func (m *message) removeNth(num protowire.Number, n int) {
	for i, f := range *m {
		if f.num != num || f.typ != protowire.BytesType {
			continue
		}
		if n == 0 {
			*m = slices.Delete(*m, i, i+1)
			return
		}
		n--
	}
}

// drop removes a field and returns where it was, or where it belongs.
func (m *message) drop(num protowire.Number, typ protowire.Type) int {
	is := func(f field) bool { return f.num == num && f.typ == typ }
	at := slices.IndexFunc(*m, is)
	if at < 0 {
		return m.place(num)
	}
	*m = slices.DeleteFunc(*m, is)
	return at
}

// place is where a new field belongs: after the last one with the same number
// or a lower one.
func (m *message) place(num protowire.Number) int {
	for i := len(*m); i > 0; i-- {
		if (*m)[i-1].num <= num {
			return i
		}
	}
	return 0
}

// insert puts a field in; value is in wire form.
func (m *message) insert(at int, num protowire.Number, typ protowire.Type, value []byte) {
	raw := append(protowire.AppendTag(nil, num, typ), value...)
	f := field{num: num, typ: typ, raw: raw, val: raw[len(raw)-len(value):]}
	if typ == protowire.BytesType {
		f.val, _ = protowire.ConsumeBytes(f.val) // it was just made
	}
	*m = slices.Insert(*m, at, f)
}
