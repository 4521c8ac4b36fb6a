# A day in the life of a Debian system; runs in the chroot, any failure ends it.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

echo "-- apt"
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get -qq update
apt-get -qq -y install --no-install-recommends git gcc libc6-dev python3 sqlite3 nginx acl libcap2-bin > /tmp/apt.log 2>&1 || {
    cat /tmp/apt.log
    exit 1
}

echo "-- git"
git config --global user.name Mica
git config --global user.email mica@example.org
git init -q /srv/origin
cd /srv/origin
for commit in 1 2 3 4 5 6 7 8 9 10; do
    mkdir -p "dir$commit"
    for file in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        echo "$commit $file" > "dir$commit/file$file"
    done
    git add .
    git commit -q -m "commit $commit"
done
git clone -q /srv/origin /srv/clone
cd /srv/clone
git fsck --full --strict
git gc -q
git fsck --full --strict
git checkout -q -b other HEAD~5
git status --porcelain > /tmp/status
test ! -s /tmp/status

echo "-- compiler"
cd /srv
cat > hello.c <<'EOF'
#include <stdio.h>
int main(void) { puts("hello from a compiled program"); return 0; }
EOF
gcc -O2 -o hello hello.c
test "$(./hello)" = "hello from a compiled program"

echo "-- sqlite in WAL mode"
python3 - <<'EOF'
import sqlite3
db = sqlite3.connect("/srv/test.db")
assert db.execute("pragma journal_mode=wal").fetchone()[0] == "wal"
db.execute("create table t (id integer primary key, text)")
for n in range(200):
    with db:
        db.executemany("insert into t (text) values (?)", [(f"row {n} {i}",) for i in range(20)])
other = sqlite3.connect("/srv/test.db")
assert other.execute("select count(*) from t").fetchone()[0] == 4000
assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
other.close()
with db:
    db.execute("delete from t where id % 3 = 0")
db.close()
EOF
test "$(sqlite3 /srv/test.db 'select count(*) from t')" = 2667

echo "-- nginx"
nginx -t -q
printf 'served by nginx' > /var/www/html/index.html
nginx -g 'daemon on; master_process on; error_log /var/log/nginx/error.log;' \
    -c /etc/nginx/nginx.conf
python3 - <<'EOF'
import time, urllib.request
for attempt in range(100):
    try:
        page = urllib.request.urlopen("http://127.0.0.1:80/").read()
        break
    except OSError:
        time.sleep(0.1)
assert page == b"served by nginx", page
EOF
nginx -s quit
while [ -e /run/nginx.pid ]; do sleep 0.1; done

echo "-- every kind of object"
mkdir -p /srv/kinds/dir
cd /srv/kinds
mkfifo fifo
mknod device c 1 7
ln -s /etc/passwd link
echo data > file
ln file hardlink
cp /bin/true capable
setcap cap_net_raw+ep capable
setfacl -m u:daemon:rwx,d:g:daemon:r-x dir
truncate -s 10M sparse
chown daemon:daemon file
chmod 4755 file
touch -d '2001-02-03 04:05:06.123456789' dir
mv /etc/issue /etc/issue.moved
ln /etc/hostname /etc/hostname.linked
chmod 600 /etc/debian_version
rm -r /etc/apt/preferences.d
mkdir /etc/apt/preferences.d

echo "-- rm -rf and dpkg --verify"
rm -rf /usr/share/doc
dpkg --verify > /tmp/verify || true
# What was removed or changed above is missed, and nothing else.
if grep -v -e ' /usr/share/doc' -e ' /etc/issue$' -e ' /etc/debian_version$' \
    -e ' /etc/apt/preferences.d' -e ' /var/www/html' /tmp/verify; then
    echo "dpkg --verify found damage"
    exit 1
fi
