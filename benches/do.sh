#!/bin/bash
# How long `mica do` takes beside plain execution and beside the kernel's overlayfs in a namespace.
#
# Usage: benches/do.sh [ROUNDS] [ROW...]     (rows: start build install; 50 rounds; root; a C compiler and make)
#
# Rounds are interleaved: every contestant does a row once, then the next round begins, so that a slow minute of the machine
# hits all of them. What is printed are medians. Mica is what `cargo build --release` made, or $MICA.
set -euo pipefail
rounds=${1:-50}
shift || true
rows=("$@")
((${#rows[@]})) || rows=(start build install)

root=$(cd "$(dirname "$0")/.." && pwd)
mica=${MICA:-${CARGO_TARGET_DIR:-$root/target}/release/mica}
[ "$(id -u)" = 0 ] || { echo "do.sh: needs root, for the kernel's overlayfs" >&2; exit 1; }
[ -x "$mica" ] || { echo "do.sh: there is no $mica: run \`cargo build --release\`" >&2; exit 1; }

dir=$(mktemp -d "${TMPDIR:-/var/tmp}/mica-bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT
export XDG_STATE_HOME=$dir/state

# Does the command line and writes its microseconds to the file of the row and the contestant.
timed() {
    local to=$dir/times/$1 begin
    shift
    begin=$EPOCHREALTIME
    "$@" > "$dir/out" 2>&1 || { echo "do.sh: $*:" >&2; cat "$dir/out" >&2; exit 1; }
    local end=$EPOCHREALTIME
    echo $((${end/./} - ${begin/./})) >> "$to"
}

# Runs a script in $dir/tree with the kernel's overlayfs over that, in namespaces of its own.
kernel() {
    rm -rf "$dir/upper" "$dir/work"
    mkdir "$dir/upper" "$dir/work"
    unshare -mpf --mount-proc sh -c "
        mount -t overlay overlay -o lowerdir=$dir/tree,upperdir=$dir/upper,workdir=$dir/work $dir/tree
        cd $dir/tree && $1"
}

# Makes the tree that the rows work in: sources to build, and 10,000 files to install.
prepare() {
    mkdir -p "$dir/times" "$dir/tree/src" "$dir/files"
    local n
    for n in {1..120}; do
        printf '#include <stdio.h>\n#include <stdlib.h>\nint f%d(int x) { return printf("%%d", x + %d); }\n' "$n" "$n" \
            > "$dir/tree/src/f$n.c"
    done
    printf 'int main(void) { return 0; }\n' > "$dir/tree/src/main.c"
    printf 'OBJECTS = $(patsubst %%.c,%%.o,$(wildcard *.c))\nprogram: $(OBJECTS)\n\t$(CC) -o $@ $^\n' \
        > "$dir/tree/src/Makefile"
    for n in {0..99}; do
        mkdir "$dir/files/$n"
        (cd "$dir/files/$n" && for f in {0..99}; do echo "$n $f ${RANDOM}" > "$f"; done)
    done
    tar -cf "$dir/tree/files.tar" -C "$dir/files" .
}

clean() {
    rm -rf "$dir/tree/src/"*.o "$dir/tree/src/program" "$dir/tree/installed"
    sync -f "$dir"
}

start() {
    timed start.unshare unshare -mpf --mount-proc true
    timed start.mica "$mica" do --rm true
}

build() {
    clean
    timed build.plain make -s -j2 -C "$dir/tree/src"
    clean
    timed build.kernel kernel "make -s -j2 -C src"
    clean
    timed build.mica "$mica" do --rm -C "$dir/tree" make -s -j2 -C src
}

install() {
    local what="mkdir installed && tar -xf files.tar -C installed"
    clean
    timed install.plain sh -c "cd $dir/tree && $what"
    clean
    timed install.kernel kernel "$what"
    clean
    timed install.mica "$mica" do --name bench -C "$dir/tree" sh -c "$what"
    timed install.diff "$mica" diff bench --no-pager
    timed install.commit "$mica" commit bench
    [ "$(find "$dir/tree/installed" -type f | wc -l)" = 10000 ] || { echo "do.sh: not committed" >&2; exit 1; }
}

median() {
    sort -n "$1" | awk '{ t[NR] = $1 } END { print (t[int((NR + 1) / 2)] + t[int(NR / 2) + 1]) / 2000 }'
}

prepare
for ((round = 0; round < rounds; round++)); do
    for row in "${rows[@]}"; do
        "$row"
    done
    if [ -t 2 ]; then printf '\rround %d of %d' $((round + 1)) "$rounds" >&2; fi
done
if [ -t 2 ]; then printf '\r\033[K' >&2; fi

printf 'medians of %d rounds, in milliseconds\n' "$rounds"
for times in "$dir"/times/*; do
    printf '%-16s %10.2f\n' "${times##*/}" "$(median "$times")"
done
if [ -e "$dir/times/start.mica" ]; then
    printf 'start of mica over unshare: %.2f ms\n' \
        "$(echo "$(median "$dir/times/start.mica") $(median "$dir/times/start.unshare")" | awk '{ print $1 - $2 }')"
fi
