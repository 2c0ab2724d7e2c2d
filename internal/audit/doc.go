// Package audit looks for plaintext where there should be none.
//
// Tree walks the directories of an image and reports what lies unencrypted in
// an encrypted directory, and which policies give less than others would.
//
// ReadSource and Scan look for known plaintext: the names, symlink targets and
// contents of a directory of the host that the encrypted tree was made from.
// Scan reads every byte of the image once, whatever the filesystem says of it,
// and tells of each match what the place is used for:
//
//   - Contents are compared in sectors of 512 bytes, by a 64-bit hash. A sector
//     of one value throughout tells nothing and is left out, the last part of
//     a file is filled up with zeros as filesystems do.
//   - Names and targets of 8 bytes and more, and the beginnings of files that
//     fill no sector, are searched for at every byte, but not in the blocks
//     that files keep their contents in: there a name is a word in a text.
//
// Memory is bounded: where a source has more sectors than fit, an even sample
// of them by their hash stands for all; of more names the first ones are taken.
// Both are told in Stats.
//
// Offsets are bytes of the store that the filesystem lies in.
package audit
