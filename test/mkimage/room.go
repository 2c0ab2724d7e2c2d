package mkimage

import "testing"

// InRoom calls f with a directory on a fresh filesystem that holds whatever a
// test image may hold: not every machine's own one takes large xattrs.
func InRoom(t testing.TB, f func(dir string)) {
	t.Helper()
	const size = 1 << 30 // bytes, nearly all of them a hole
	room := Make(t, Row{Name: "room", Size: size, Args: []string{"-O", "ea_inode"}})
	Mounted(t, room, true, f)
}
