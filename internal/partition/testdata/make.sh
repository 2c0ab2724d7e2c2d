#!/bin/sh
# Makes the disk images of this directory with sfdisk of util-linux.
set -e
cd "$(dirname "$0")"
mk() { # name, script on stdin
	truncate -s 1M "$1.img"
	sfdisk -q --wipe never "$1.img"
	gzip -9n <"$1.img" >"$1.img.gz"
	rm "$1.img"
}
mk gpt <<EOF
label: gpt
label-id: 5aefb979-12b5-26a4-305a-9fab96a763fe
first-lba: 34
start=64, size=200, name="boot"
start=300, size=1000, name="userdata"
start=1400, size=50, name="2"
start=1500, size=50, name="twin"
start=1600, size=51, name="twin"
start=1700, size=52, name="last"
EOF
mk mbr <<EOF
label: dos
start=10, size=100, type=83
start=200, size=300, type=82
start=600, size=1400, type=5
start=610, size=20, type=83
start=700, size=30, type=83
start=800, size=40, type=da
EOF

# A disk with sectors of 4 KiB, which needs root for the loop device.
truncate -s 1M gpt4k.img
dev=$(losetup --find --show --sector-size 4096 gpt4k.img)
sfdisk -q --wipe never "$dev" <<EOF || true
label: gpt
label-id: 5aefb979-12b5-26a4-305a-9fab96a763fe
first-lba: 6
start=16, size=20, name="big"
EOF
losetup --detach "$dev"
gzip -9n <gpt4k.img >gpt4k.img.gz
rm gpt4k.img
