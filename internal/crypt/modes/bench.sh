#!/bin/sh
# Runs the benchmarks of AES-XTS and AES-CBC, interleaved with openssl speed, and
# prints the best of each and the ratio. Both count CPU time of one thread.
#
# usage: bench.sh [runs]
set -eu
cd "$(dirname "$0")"
runs=${1:-5}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go test -c -o "$dir/xts" ./xts
go test -c -o "$dir/aesblk" ./aesblk

# speed name bytes cipher [-decrypt]: one line "name MB/s"
speed() {
	name=$1 bytes=$2 cipher=$3
	shift 3
	openssl speed -seconds 1 -bytes "$bytes" "$@" -evp "$cipher" 2>/dev/null |
		awk -v name="$name" 'END { printf "%s %.0f\n", name, $2 / 1000 }'
}

# ours pattern binary: the same lines
ours() {
	"$2" -test.run '^$' -test.bench "$1" -test.benchtime 200ms |
		awk '/MB\/cpu-s/ { for (i = 2; i <= NF; i++) if ($i == "MB/cpu-s") { sub(/-[0-9]+$/, "", $1); print $1, $(i-1) } }'
}

i=0
while [ $i -lt "$runs" ]; do
	for unit in 512 4096; do
		speed "openssl/encrypt/$unit" $unit aes-256-xts
		speed "openssl/decrypt/$unit" $unit aes-256-xts -decrypt
	done
	speed openssl/cbc/decrypt 4096 aes-128-cbc -decrypt
	speed openssl/cbc/encrypt 4096 aes-128-cbc
	ours 'Units|Peer' "$dir/xts"
	ours 'CBC' "$dir/aesblk"
	i=$((i + 1))
done | awk '
	{ if ($2 > best[$1]) best[$1] = $2 }
	END {
		for (name in best) {
			split(name, part, "/")
			peer = ""
			if (part[1] == "BenchmarkUnits" || part[1] == "BenchmarkPeer")
				peer = "openssl/" part[3] "/" part[4]
			if (part[1] == "BenchmarkCBC")
				peer = "openssl/cbc/" substr(part[3], 1, 7)
			if (peer != "")
				printf "%-45s %8.0f MB/s  %5.2f of openssl\n", name, best[name], best[name] / best[peer]
			else
				printf "%-45s %8.0f MB/s\n", name, best[name]
		}
	}' | sort
