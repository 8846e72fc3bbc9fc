# shellcheck shell=bash
# Installs what the build and the tests need, and says in a sentence what is missing where it cannot.
#
#   . pkg-scripts/setup.sh build   Rust's wasm target, wasm-bindgen, npm development dependencies
#   . pkg-scripts/setup.sh test    the same, and browsers and Python's venv
#
# To be sourced by bash. Everything is cached: a second run takes a second and needs no network. Sets WDELTA_SETUP,
# WDELTA_WASM_TOOLCHAIN (empty or a rustup toolchain), and for `test` CHROMIUM, CHROMEDRIVER and FIREFOX (empty if absent).
set -euo pipefail

wdelta_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
wdelta_cache=${XDG_CACHE_HOME:-$HOME/.cache}/wdelta

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

# need COMMAND SENTENCE: stops with the sentence if the command is missing.
need() { command -v "$1" >/dev/null || fail "$1 is missing. $2"; }

setup_basics() {
  need git "Install git."
  need node "Install Node.js 20 or newer."
  need npm "Install npm; it comes with Node.js."
  need cargo "Install Rust with rustup (stable)."
  need python3 "Install Python 3."
  local major
  major=$(node -p 'process.versions.node.split(".")[0]')
  [ "$major" -ge 20 ] || fail "Node.js 20 or newer is needed; this is $(node --version)."
}

# cargo_install FOLDER CRATE VERSION [OPTION...]: away from the repository, whose cargo settings are not meant for tools.
cargo_install() {
  local folder=$1 crate=$2 version=$3
  shift 3
  (cd "$HOME" && CARGO_TARGET_DIR=$wdelta_cache/build cargo install -q "$crate" --version "=$version" --root "$folder" "$@" >&2)
}

# wasm-bindgen's command and crate must be of one version, the one in Cargo.lock.
setup_wasm_bindgen() {
  local version folder
  version=$(awk '/^name = "wasm-bindgen"$/ { getline; gsub(/[^0-9.]/, ""); print; exit }' "$wdelta_root/Cargo.lock")
  [ -n "$version" ] || fail "Cargo.lock has no wasm-bindgen."
  if [ "$(wasm-bindgen --version 2>/dev/null)" = "wasm-bindgen $version" ] && command -v wasm-bindgen-test-runner >/dev/null; then return; fi
  folder=$wdelta_cache/wasm-bindgen-$version
  if [ ! -x "$folder/bin/wasm-bindgen" ] || [ ! -x "$folder/bin/wasm-bindgen-test-runner" ]; then
    say "installing wasm-bindgen $version into $folder (some minutes, once)"
    # The locked dependencies first; they can be out of reach where the index is a partial copy.
    cargo_install "$folder" wasm-bindgen-cli "$version" --locked ||
      { say "trying again without its lock file" && cargo_install "$folder" wasm-bindgen-cli "$version"; } ||
      fail "cargo could not install wasm-bindgen-cli $version."
    rm -rf "$wdelta_cache/build"
  fi
  export PATH="$folder/bin:$PATH"
}

setup_npm() {
  local scripts=$wdelta_root/pkg-scripts stamp
  stamp=$(cat "$scripts/package.json" "$scripts/package-lock.json" | git hash-object --stdin)
  [ "$(cat "$scripts/node_modules/.wdelta-stamp" 2>/dev/null || true)" != "$stamp" ] || return 0
  say "installing npm development dependencies"
  (cd "$scripts" && npm ci --loglevel=error >&2) || fail "npm ci failed in pkg-scripts."
  printf '%s\n' "$stamp" >"$scripts/node_modules/.wdelta-stamp"
}

# first COMMAND...: prints the path of the first command that exists.
first() {
  local name
  for name; do command -v "$name" 2>/dev/null && return; done
  return 0
}

find_browsers() {
  CHROMIUM=${CHROMIUM:-$(first chromium chromium-browser google-chrome google-chrome-stable)}
  CHROMEDRIVER=${CHROMEDRIVER:-$(first chromedriver)}
  FIREFOX=${FIREFOX:-$(first firefox-esr firefox)}
  export CHROMIUM CHROMEDRIVER FIREFOX
}

# can_install: root on a system with apt.
can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

apt_install() {
  say "installing $* with apt"
  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@") >&2
}

setup_test_tools() {
  local missing=()
  find_browsers
  [ -n "$CHROMIUM" ] || missing+=(chromium)
  [ -n "$CHROMEDRIVER" ] || missing+=(chromium-driver)
  python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
  if [ ${#missing[@]} -gt 0 ]; then
    can_install || fail "the tests need ${missing[*]} (names of Debian's packages). Install them, or name the programs in CHROMIUM and CHROMEDRIVER."
    apt_install "${missing[@]}" || fail "apt could not install ${missing[*]}."
  fi
  # Firefox and WebKit are two more browsers to test; without them those tests are left out.
  if [ -z "$FIREFOX" ] && can_install; then apt_install firefox-esr || say "note: no Firefox; its tests are left out"; fi
  if ! { command -v WebKitWebDriver && command -v Xvfb; } >/dev/null && can_install; then
    apt_install webkit2gtk-driver xvfb || say "note: no WebKit; its tests are left out"
  fi
  find_browsers
  python3 -c 'import venv, ensurepip' 2>/dev/null || fail "python3 has no venv module; install it for $(command -v python3)."
  [ -n "$CHROMIUM" ] && [ -n "$CHROMEDRIVER" ] || fail "chromium or chromedriver is still not found."
}

wdelta_setup() {
  case "${WDELTA_SETUP:-} $1" in "test "* | "build build") return ;; esac
  setup_basics
  WDELTA_WASM_TOOLCHAIN=$(cd "$wdelta_root" && bash pkg-scripts/wasm-std.sh)
  export WDELTA_WASM_TOOLCHAIN
  setup_wasm_bindgen
  setup_npm
  if [ "$1" = test ]; then setup_test_tools; fi
  export WDELTA_SETUP=$1
}

case "${1:-}" in
  build | test) wdelta_setup "$1" ;;
  *) fail "setup.sh wants 'build' or 'test'." ;;
esac
