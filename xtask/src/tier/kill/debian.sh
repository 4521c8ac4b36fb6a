# Installs packages over themselves again and again, in the chroot of the first argument, with binds that end with this
# shell's mount namespace. Whoever kills the server ends the loop.
set -eu
root=$1
archives=$2
mount --bind /proc "$root/proc"
mount --bind /dev "$root/dev"
mount --bind "$archives" "$root/var/cache/apt/archives"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
install='dpkg --install --force-confnew --no-triggers /var/cache/apt/archives/*.deb'
case $3 in
download)
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    chroot "$root" apt-get -qq update
    # shellcheck disable=SC2086 # a list of words
    chroot "$root" apt-get -qq -y --download-only --reinstall install $4
    ;;
work)
    while chroot "$root" sh -c "$install"; do :; done
    ;;
repair)
    # What dpkg asks an administrator to do: finish what was interrupted, install again what was half unpacked.
    chroot "$root" dpkg --configure -a || true
    if test -n "$(chroot "$root" dpkg --audit)"; then
        chroot "$root" sh -c "$install"
    fi
    ;;
audit)
    chroot "$root" dpkg --audit
    ;;
verify)
    chroot "$root" dpkg --audit
    chroot "$root" dpkg --verify || true
    ;;
esac
