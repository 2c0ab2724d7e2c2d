package btrfs

import "errors"

// Layouts of the proposed encryption.
const (
	layoutV6 = "btrfs-fscrypt-v6 (proposed)"
	layoutV5 = "btrfs-fscrypt-v5 (proposed, old)"

	// InlineLayout is the format of encrypted inline extents.
	InlineLayout = "btrfs encrypted_inline_data 1 (fsenc's own)"
)

// layoutItems is how many items of each subvolume findLayout looks at.
const layoutItems = 4000

// findLayout tells the two layouts of extent contexts apart by the first extent
// that is encrypted: series v5 appended contexts to the items of extents. Nothing
// else tells, and where there are only names the two are the same. Of a subvolume
// that begins with much that is not encrypted it reads just that: then who meets
// an item of the other layout refuses to change it.
func (fs *FS) findLayout() (v5 bool, err error) {
	if !fs.sb.has(incompatEncrypt) {
		return false, nil
	}
	ids, err := fs.subvolumes()
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		t, err := fs.treeOf(id)
		if err != nil {
			return false, err
		}
		n := 0
		err = fs.each(t, key{}, func(k key, b []byte) (bool, error) {
			n++
			if k.kind == keyContext {
				return false, errStop
			}
			if k.kind == keyExtentData && len(b) > extentSize && b[offExtKind] != extInline && b[offExtEncryption] == 1 {
				v5 = true
				return false, errStop
			}
			return n < layoutItems, nil
		})
		if errors.Is(err, errStop) {
			return v5, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}
