# Makes the tree that commits change: a directory for each kind of change of change.sh. Runs where the tree is to be. Of the
# copies crossed/far is a filesystem of its own.
set -eu
umask 022
fill() { for name in "$@"; do printf 'line\n%s\n' "$name" > "$name"; done; }
many() { seq -f "$1/%g" 1 "$2" | while read -r name; do echo "$name" > "$name"; done; }
mkdir files replaced renamed linked large attributes types fresh gone nodes moved across crossed
(cd files; mkdir sub; many . 20; many sub 10)
(cd replaced; mkdir -p a/sub b; fill a/x a/sub/y b/z; ln -s a link)
(cd renamed; mkdir -p a/in b/deep/er; fill a/1 a/in/2 b/3 b/deep/er/4 f g)
(cd linked; fill a b; ln a a2; ln a a3; ln b b2; head -c 3M /dev/zero | tr '\0' x > big; ln big big2)
(cd large; head -c 2M /dev/zero | tr '\0' y > old; truncate -s 4M holes; fill short)
(cd attributes; mkdir d; fill a b c d/e; setfacl -m u:1:r b; chmod 4755 c)
(cd types; mkdir d e; fill d/in f g; ln -s f l; mkfifo p)
(cd fresh; fill one)
(cd gone; mkdir -p a/b c; many a 60; many a/b 60; many c 20)
(cd nodes; mkfifo p; mknod n c 1 3; fill f)
(cd moved; mkdir -p a/b/c empty full; many a 10; many a/b/c 10; fill full/x)
(cd across; mkdir -p one/d two; fill one/d/f one/g two/h)
(cd crossed; mkdir -p one/d/sub/deep one/out one/s far/in far/back far/s; many one/d 40; many one/d/sub/deep 20; many far/back 20
    fill one/d/f one/out/o one/s/1 far/s/2 far/in/i; ln one/d/f one/d/sub/g; ln one/d/f partner; mkfifo one/d/p)
for kind in *; do echo last > "$kind/last"; done
find . -exec touch -h -d @1000000 {} +
