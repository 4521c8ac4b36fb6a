# The tour: an overlay on real directories, a change through it, and the lower as it was.
# $1 is a fresh directory, $2 the options of the mount beyond its layers; `mica` is in PATH.
set -eu
cd "$1"

say() {
    printf '\n$ %s\n' "$*"
    "$@"
}

mkdir lower upper work merged
echo 'the original' > lower/file
echo 'never changed' > lower/other
trap 'mica umount merged 2> /dev/null || true' EXIT

say mica mount -o "lowerdir=lower,upperdir=upper,workdir=work$2" merged
say ls merged
say sh -c "echo 'a change' >> merged/file"
say cat merged/file
say rm merged/other
say touch merged/new
say ls merged
say cat lower/file lower/other
say ls -l upper
say grep merged /proc/mounts
say mica umount merged
say ls merged
