#!/usr/bin/env bash
# The part of the interop tests that needs torch (a large download, so it is not in test.sh): the reference's path functions, folders,
# shards, bf16, chains made from paths; then time and memory of both on a 988 MB pair.
#
#   bash pkg-scripts/interop-full.sh [--no-bench]
#
# WDELTA_LARGE_PAIR=FOLDER   takes an existing pair (base/ and finetuned/ in it) instead of making one in the cache folder.
# WDELTA_BENCH_OPTIONS=...   options for benches/large_pair.py, such as "--runs 1 --strategies int4".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bench=yes
for argument; do
  case "$argument" in
    --no-bench) bench=no ;;
    *) echo "usage: bash pkg-scripts/interop-full.sh [--no-bench]" >&2; exit 2 ;;
  esac
done
# shellcheck source=pkg-scripts/setup.sh
. pkg-scripts/setup.sh build
node pkg-scripts/build.mjs
# shellcheck source=tests/interop/venv.sh
. tests/interop/venv.sh torch

printf '\n== in-memory functions\n'
"$python" tests/interop/test_memory_api.py
printf '\n== path functions\n'
"$python" tests/interop/test_path_api.py
[ "$bench" = yes ] || exit 0

printf '\n== large pair\n'
pair=${WDELTA_LARGE_PAIR:-$wdelta_cache/large-pair}
if [ ! -e "$pair/finetuned/model.safetensors" ]; then
  "$python" tests/interop/make_large_pair.py "$pair.part"
  mv "$pair.part" "$pair"
fi
# shellcheck disable=SC2086
"$python" benches/large_pair.py "$pair" ${WDELTA_BENCH_OPTIONS:-}
