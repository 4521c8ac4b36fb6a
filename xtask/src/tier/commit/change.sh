# Changes the tree of tree.sh in the ways that are named, each in its own directory.
set -eu
umask 022
text() { yes "$1" | head -c "$2" || true; }
one() {
    case $1 in
    files)
        for n in 1 2 3 4 5 6; do echo more >> $n; done
        for n in 7 8 9; do echo other > n; mv n $n; done
        rm 10 11 12 sub/1
        for n in 1 2 3 4; do echo new > new$n; echo new > sub/new$n; done
        truncate -s 2 13
        : > 14
        ;;
    replaced)
        rm -r a
        mkdir a
        echo own > a/own
        echo x > a/x
        rm -r b
        mkdir b
        rm link
        ln -s b link
        ;;
    renamed)
        mv a t
        mv b a
        mv t b
        mv b/in a/deep/in
        mv f g
        echo more >> a/3
        rm a/deep/er/4
        mv a c
        mkdir a
        echo own > a/own
        ;;
    linked)
        echo more >> a
        echo more > b2
        ln a a4
        ln b c
        text big 4M > big2
        ;;
    large)
        text new 8M > new
        text tail 2M >> old
        truncate -s 2M holes
        echo end >> holes
        truncate -s 1M short
        ;;
    attributes)
        chmod 600 a
        chown 5:6 b
        setfacl -m g:7:rwx b
        setfacl -m d:u:8:rx d
        chmod 700 d
        chown 9 c
        chmod 2711 c
        touch -d @77 d/e
        ;;
    types)
        rm -r d
        echo file > d
        rm f
        mkdir f
        echo in > f/in
        rm l
        mkfifo l
        rm p
        ln -s nowhere p
        rmdir e
        ln -s d e
        ;;
    fresh)
        mkdir -p a/b/c/d e
        for n in $(seq 40); do echo $n > a/b/$n; done
        ln a/b/1 a/link
        ln a/b/2 e/link
        ln one two
        mkfifo a/b/c/p
        ln -s ../one a/b/c/l
        chmod 555 a/b/c/d
        ;;
    gone)
        rm -r a
        rm -r c
        mkdir c
        ;;
    nodes)
        mknod m b 7 200
        rm p n
        mknod p c 1 5
        mkfifo n
        chmod 640 p
        ;;
    moved)
        mv a new
        mv new/b/c deep
        rm new/1 deep/2
        echo more >> new/3
        echo own > new/b/own
        rmdir empty
        mv new/b empty
        rm -r full
        mv deep full
        ;;
    across)
        mv one/d two/d
        mv one/g two/h
        echo more >> two/d/f
        mv two/d/f one/f
        ;;
    crossed)
        echo more >> one/d/f
        mv one/out out
        rm one/d/1
        echo new > one/d/sub/new
        mv one/d far/d
        echo more >> far/d/sub/deep/2
        mv far/in far/d/in
        mv far/d/sub/deep deep
        mkdir one/d
        echo own > one/d/own
        mv far/back one/back
        mv one/s t
        mv far/s one/s
        mv t far/s
        mkdir -p far/n/n
        mv out far/n/n/out
        ;;
    esac
    echo change >> last
}
for kind in "$@"; do
    (cd "$kind" && one "$kind")
done
