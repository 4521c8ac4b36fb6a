# Furnishes a fresh Debian root, the argument, with what work.sh works on. The second argument is where rustc is.
set -eu
root=$1
sysroot=$2
cp /etc/resolv.conf "$root/etc/resolv.conf"
in_root() {
    chroot "$root" env -i DEBIAN_FRONTEND=noninteractive LC_ALL=C HOME=/root \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin sh -euc "$1"
}
in_root '
useradd -m -u 1000 -s /bin/bash worker
printf "#!/bin/sh\nexit 101\n" > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get -qq update
mkdir -p /given/root /given/as-root
chown _apt /given/root /given/as-root
(cd /given/root; apt-get -qq download hello tree bc ed figlet time cpio cron cron-daemon-common lsof)
(cd /given/as-root; apt-get -qq download dos2unix pv unzip zip libonig5 libjq1 jq libutempter0 libmagic-mgc libmagic1)
apt-get clean
rm -rf /var/lib/apt/lists/* /etc/resolv.conf
chown -R root: /given
'
mkdir -p "$root/opt/rust/bin" "$root/opt/rust/lib/rustlib"
cp -a "$sysroot/bin/cargo" "$sysroot/bin/rustc" "$root/opt/rust/bin"
cp -a "$sysroot"/lib/*.so* "$root/opt/rust/lib"
host=$(rustc -vV | sed -n 's/^host: //p')
cp -a "$sysroot/lib/rustlib/$host" "$root/opt/rust/lib/rustlib"

mkdir -p "$root/given/crate/src"
cd "$root/given/crate"
cat > Cargo.toml <<'END'
[package]
name = "given"
version = "0.1.0"
edition = "2021"
build = "build.rs"
[lib]
crate-type = ["rlib", "cdylib"]
END
cat > build.rs <<'END'
fn main() {
    let out = std::env::var("OUT_DIR").unwrap();
    std::fs::write(format!("{out}/made.rs"), "pub const MADE: &str = \"made\";").unwrap();
}
END
echo 'include!(concat!(env!("OUT_DIR"), "/made.rs"));' > src/lib.rs
for n in $(seq 30); do
    echo "pub mod m$n;" >> src/lib.rs
    echo "pub fn f<T: std::fmt::Debug>(t: T) -> String { format!(\"$n {t:?}\") }" > "src/m$n.rs"
done
echo 'fn main() { println!("{} {}", given::MADE, given::m7::f([1, 2])) }' > src/main.rs

mkdir -p "$root/given/wheel"
in_root 'python3 - <<END
import zipfile
info = "given-1.0.dist-info/"
with zipfile.ZipFile("/given/wheel/given-1.0-py3-none-any.whl", "w") as wheel:
    for n in range(40):
        wheel.writestr(f"given/m{n}.py", f"def f():\n    return {n}\n")
    wheel.writestr("given/__init__.py", "def main():\n    print(\"given\")\n")
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: given\nVersion: 1.0\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "entry_points.txt", "[console_scripts]\ngiven=given:main\n")
    wheel.writestr(info + "RECORD", "")
END'
chmod -R a+rX "$root/given" "$root/opt/rust"

for home in root home/worker; do
    python3 - "$root/$home/many" <<'END'
import os, sys
for d in range(250):
    os.makedirs(f"{sys.argv[1]}/{d % 10}/{d}")
    for f in range(200):
        with open(f"{sys.argv[1]}/{d % 10}/{d}/{f}", "w") as file:
            if f % 20 == 0:
                file.write(f"{d} {f}\n")
END
done
chown -R 1000:1000 "$root/home/worker/many"
