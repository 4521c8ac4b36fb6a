# What is done to a tree, from inside of it: as `root`, as an ordinary user (`worker`), or as root of his session (`as-root`).
set -eu
who=$1
case $who in
root) home=/root ;;
# Even as root of his session the user has no way into a directory that is closed to him.
*) home=/home/worker ;;
esac
export LC_ALL=C HOME=$home PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive
umask 022
work=$home/$who
mkdir "$work"
cd "$work"

say() { echo "   $who: $1"; }

if test "$who" != worker; then
    say "dpkg"
    # What others want first.
    case $who in
    root) dpkg -i /given/root/cron-daemon-common* > log-dpkg ;;
    esac
    dpkg -i /given/"$who"/*.deb >> log-dpkg
    dpkg --audit
fi

say "python"
python3 -m venv venv
venv/bin/pip -q --no-color install --no-index --no-deps --no-cache-dir /given/wheel/*.whl
test "$(venv/bin/given)" = given

say "cargo"
cp -r /given/crate crate
(cd crate && CARGO_INCREMENTAL=0 cargo build -q --offline)
test "$(crate/target/debug/given)" = 'made 7 [1, 2]'

say "git"
export GIT_AUTHOR_NAME=W GIT_AUTHOR_EMAIL=w@example.org GIT_COMMITTER_NAME=W GIT_COMMITTER_EMAIL=w@example.org
export GIT_AUTHOR_DATE='2024-01-01T00:00:00Z' GIT_COMMITTER_DATE='2024-01-01T00:00:00Z'
git init -q -b main repo
(
    cd repo
    echo base > base
    git add base
    git commit -q -m base
    {
        for n in $(seq 200); do
            printf 'commit refs/heads/topic\ncommitter W <w@example.org> 1704067200 +0000\ndata 2\n%s\n' "c"
            test "$n" = 1 && echo 'from refs/heads/main^0'
            printf 'M 644 inline d%s/f%s\ndata <<E\nline %s\nE\n\n' $((n % 7)) $((n % 50)) "$n"
        done
    } | git fast-import --quiet
    echo other > other
    git add other
    git commit -q -m other
    git checkout -q topic
    git rebase -q main
    test "$(git rev-list --count HEAD)" = 202
    # With several threads a pack is another one each time.
    git -c pack.threads=1 gc -q
    git fsck --strict --no-dangling
)

if test "$who" != as-root; then
    say "rm"
    rm -rf "$home/many"
fi

if test "$who" = worker; then
    say "postgres"
    bin=$(echo /usr/lib/postgresql/*/bin)
    "$bin"/initdb -D data -A trust --no-sync > log-initdb
    printf "listen_addresses = ''\nunix_socket_directories = '%s'\nautovacuum = off\n" "$work" >> data/postgresql.conf
    "$bin"/pg_ctl -s -w -D data -l log-postgres start
    "$bin"/pgbench -h "$work" -i -q -s 2 postgres 2> /dev/null
    "$bin"/pgbench -h "$work" -n -c 2 -t 200 postgres > log-pgbench 2>&1
    "$bin"/psql -h "$work" -qAt -c 'select count(*) from pgbench_history' postgres > count
    "$bin"/pg_ctl -s -w -D data stop
    test "$(cat count)" = 400
fi

say "changes"
mkdir -m 2750 kinds
cd kinds
mkfifo fifo
ln -s /nowhere link
echo data > file
ln file linked
chmod 4711 file
truncate -s 1M holes
echo end >> holes
touch -d '2001-02-03 04:05:06.123456789' file
if test "$who" != worker; then
    chown -h 7:8 link
    ln /etc/hostname /etc/hostname."$who"
    rm -r /etc/apt/preferences.d
    mkdir /etc/apt/preferences.d
    mv /usr/share/doc /usr/share/documents."$who"
    mv /usr/share/documents."$who" /usr/share/doc
    case $who in
    root) set -- git perl issue.net ;;
    *) set -- python3 bzip2 issue ;;
    esac
    mv /usr/share/doc/"$1" /usr/share/doc/"$1.$who"
    rm -r /usr/share/doc/"$2"
    chmod 600 /etc/"$3"
fi
say "done"
