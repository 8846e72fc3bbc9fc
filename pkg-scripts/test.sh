#!/usr/bin/env bash
# Installs what is missing and runs every test, cheap ones first; stops at the first failure.
#
#   bash pkg-scripts/test.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=pkg-scripts/setup.sh
. pkg-scripts/setup.sh test

wasm=wasm32-unknown-unknown
step() { printf '\n== %s\n' "$*"; }
# with_wasm COMMAND...: runs it with the toolchain that has the wasm target.
with_wasm() {
  if [ -n "$WDELTA_WASM_TOOLCHAIN" ]; then env RUSTUP_TOOLCHAIN="$WDELTA_WASM_TOOLCHAIN" "$@"; else "$@"; fi
}

step "formatting"
cargo fmt --check

step "clippy, native"
cargo clippy --locked --all-targets -- -D warnings

if [ -z "$WDELTA_WASM_TOOLCHAIN" ]; then
  step "clippy, wasm"
  cargo clippy --locked --lib --target "$wasm" -- -D warnings
  step "clippy, the core that only reads"
  cargo clippy --locked --lib --no-default-features --target "$wasm" -- -D warnings
  step "clippy, the benchmark in wasm"
  cargo clippy --locked --manifest-path benches/v2_wasm/Cargo.toml --target-dir target --target "$wasm" -- -D warnings
fi

step "Rust documentation"
RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --all-features

step "Rust tests, native"
cargo test --locked

# A file that says where it runs, runs there; any other one in Node and in Chromium.
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=wasm-bindgen-test-runner
for file in tests/wasm*.rs; do
  [ -e "$file" ] || continue
  name=$(basename "$file" .rs)
  step "Rust tests in wasm: $name"
  with_wasm cargo test --locked --target "$wasm" --test "$name"
  if ! grep -q 'run_in_' "$file"; then
    step "Rust tests in wasm, Chromium: $name"
    WASM_BINDGEN_USE_BROWSER=1 with_wasm cargo test --locked --target "$wasm" --test "$name"
  fi
done

step "package"
node pkg-scripts/build.mjs

step "JavaScript tests"
mapfile -t files < <(find tests/js tests/page -name '*.test.mjs' ! -name 'responsive*' | sort)
node --test --test-reporter=spec "${files[@]}"

step "JavaScript tests: the page's main thread, alone"
node --test --test-reporter=spec tests/page/responsive.test.mjs

step "interop with deltatensors (Python)"
bash tests/interop/run.sh

printf '\nall tests passed\n'
