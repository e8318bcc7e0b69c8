# Arguments: the folder to make the toolchain in, a folder for work, the sysroot of the Rust that is installed here, the
# package with the compiler's libraries, its version.
#
# The packages are unpacked and not installed, since they would clash with another Rust. They have no std for the target;
# it is built from their source, as the target's own maintainers build it.
set -eu
toolchain=$1 work=$2 sysroot=$3 libraries=$4 version=$5

rm -rf "$work" "$toolchain"
mkdir -p "$work/root" "$toolchain/bin" "$toolchain/lib"
cd "$work"

echo "fetching rustc $version with the source of its std"
apt-get -o Acquire::Retries=2 download \
    "$libraries=$version" "libstd-rust-web-dev=$version" "rustc-web=$version" "rust-web-src=$version"

echo "unpacking"
for package in "$libraries" libstd-rust-web-dev rustc-web; do
    dpkg -x "$package"_*.deb root
done
dpkg-deb --fsys-tarfile rust-web-src_*.deb | tar x -C root --wildcards './usr/src/rustc-*/library/*'

mv root/usr/bin/rustc "$toolchain/bin/"
mv root/usr/lib/*/librustc_driver-*.so "$toolchain/lib/"
mv root/usr/lib/rustlib "$toolchain/lib/"
mkdir -p "$toolchain/lib/rustlib/src/rust"
# Debian has a link to the source there, which leads out of the folder.
rm -rf "$toolchain/lib/rustlib/src/rust/library"
mv root/usr/src/rustc-*/library "$toolchain/lib/rustlib/src/rust/library"

# The linker is that of the Rust that is here.
host=$("$sysroot/bin/rustc" -vV | sed -n 's/^host: //p')
linker=$sysroot/lib/rustlib/$host/bin/rust-lld
if [ ! -x "$linker" ]; then
    echo "no linker for WebAssembly: $linker is not there" >&2
    exit 1
fi
mkdir -p "$toolchain/lib/rustlib/$host/bin"
ln -sf "$linker" "$toolchain/lib/rustlib/$host/bin/rust-lld"

echo "building std for wasm32-unknown-unknown"
cd "$toolchain/lib/rustlib/src/rust/library/sysroot"
LD_LIBRARY_PATH="$toolchain/lib" RUSTC="$toolchain/bin/rustc" RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$work/target" \
    RUSTFLAGS="-Zforce-unstable-if-unmarked" \
    "$sysroot/bin/cargo" build --profile dist --target wasm32-unknown-unknown --features panic-unwind,backtrace-trace-only
mkdir -p "$toolchain/lib/rustlib/wasm32-unknown-unknown/lib"
cp "$work"/target/wasm32-unknown-unknown/dist/deps/*.rlib "$toolchain/lib/rustlib/wasm32-unknown-unknown/lib/"
rm -rf "$work"
# Its presence says that all of the above went well.
echo "$version" > "$toolchain/complete"
