#!/usr/bin/env bash
# Makes `cargo build --target wasm32-unknown-unknown` work and prints the name of the toolchain to use:
# an empty line for the ordinary one, `wasm` for the fall-back.
#
# First choice is rustup's own component. Where its server cannot be reached, a second toolchain is put together
# from Debian's rustc-web packages (amd64 only), whose compiler and library source are of one release, with the
# standard library built once from that source. The packages are unpacked, never installed: rustc-web conflicts
# with a system Rust.
#
# WDELTA_WASM_STD=fallback   take the fall-back even where rustup works
# WDELTA_WASM_PREFIX=FOLDER  where the fall-back lives (930 MB; default: ~/.local/share/wdelta-rust)
set -euo pipefail

target=wasm32-unknown-unknown
prefix=${WDELTA_WASM_PREFIX:-${XDG_DATA_HOME:-$HOME/.local/share}/wdelta-rust}

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

# True if there is a standard library for the target in the ordinary toolchain, or in rustup's toolchain $1.
has_std() {
  local root
  root=$(rustc ${1:+"+$1"} --print sysroot 2>/dev/null) || return 1
  compgen -G "$root/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null
}

if [ "${WDELTA_WASM_STD:-}" != fallback ]; then
  if has_std; then echo; exit 0; fi
  if command -v rustup >/dev/null; then
    say "adding the $target component with rustup"
    if timeout 300 rustup target add "$target" >&2 && has_std; then echo; exit 0; fi
    say "rustup could not add $target; trying the packages of the system"
  fi
fi
if has_std wasm; then echo wasm; exit 0; fi

command -v rustup >/dev/null || fail "no standard library for $target; install the one of your Rust (often a package named libstd-rust-dev-wasm32) or use rustup"
if ! command -v apt-get >/dev/null || [ "$(dpkg --print-architecture)" != amd64 ]; then
  fail "rustup cannot reach its server, and the fall-back needs Debian on amd64; run 'rustup target add $target' where there is a network"
fi

say "building the standard library for $target from rustc-web (some minutes, once)"
mkdir -p "$prefix/debs"
toolchain=$prefix/usr
[ "$(id -u)" != 0 ] || apt-get update -qq >&2 || say "apt-get update failed; going on with the lists that are there"

cd "$prefix/debs"
release=$(apt-cache policy rustc-web | sed -n 's/^ *Candidate: //p')
[ -n "$release" ] && [ "$release" != '(none)' ] || fail "apt knows no package rustc-web"
series=$(cut -d. -f1,2 <<<"$release")
llvm=$(apt-cache show "libstd-rust-web-$series=$release" | grep -o 'libllvm[0-9]*' | head -n 1)
llvm_version=${llvm#libllvm}
apt-get download -qq -o APT::Sandbox::User=root "rustc-web=$release" "libstd-rust-web-$series=$release" "libstd-rust-web-dev=$release" \
  "rust-web-src=$release" "$llvm" "lld-$llvm_version" >&2
for deb in *.deb; do dpkg -x "$deb" "$prefix"; done

# rustup puts <toolchain>/lib, not the multiarch folder, on the library path.
for lib in "$toolchain"/lib/*-linux-gnu/*.so*; do ln -sf "$lib" "$toolchain/lib/"; done
host=$toolchain/lib/rustlib/x86_64-unknown-linux-gnu
mkdir -p "$host/bin"
ln -sf "$toolchain/lib/llvm-$llvm_version/bin/lld" "$host/bin/rust-lld"
rm -f "$toolchain/lib/rustlib/src/rust"
mkdir -p "$toolchain/lib/rustlib/src"
ln -s "$toolchain/src/rustc-${release%%+*}" "$toolchain/lib/rustlib/src/rust"
# Without a cargo of its own the linked toolchain would take the cargo of any other one.
ln -sf "$(rustup which cargo)" "$toolchain/bin/cargo"
rustup toolchain link wasm "$toolchain" >&2

# An empty crate makes cargo build the whole library; embedded bitcode is what link-time optimisation needs.
crate=$prefix/std-build
rm -rf "$crate" && mkdir -p "$crate/src" && : >"$crate/src/lib.rs"
printf '[package]\nname = "std-build"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n' >"$crate/Cargo.toml"
(cd "$crate" && RUSTUP_TOOLCHAIN=wasm RUSTC_BOOTSTRAP=1 RUSTFLAGS='-Cembed-bitcode=yes -Cdebuginfo=0' CARGO_TARGET_DIR=$crate/target \
  cargo build -q --release --target "$target" -Zbuild-std=std,panic_abort,panic_unwind,proc_macro,test >&2)
rlibs=$toolchain/lib/rustlib/$target/lib
rm -rf "$rlibs" && mkdir -p "$rlibs"
cp "$crate/target/$target/release/deps/"*.rlib "$rlibs"
rm -f "$rlibs"/libstd_build-*.rlib
cd "$prefix"
rm -rf "$crate" "$prefix/debs"

has_std wasm || fail "the fall-back was built, but its compiler does not find it"
echo wasm
