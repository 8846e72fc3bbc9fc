#!/usr/bin/env bash
# Installs what is missing, builds the package, and stores and rebuilds the fine-tunes of a small real model with it.
#
#   bash pkg-scripts/demo.sh [--no-serve]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for argument; do
  [ "$argument" = --no-serve ] || { echo "usage: bash pkg-scripts/demo.sh [--no-serve]" >&2; exit 2; }
done
# shellcheck source=pkg-scripts/setup.sh
. pkg-scripts/setup.sh build
node pkg-scripts/build.mjs
echo
node pkg-scripts/demo.mjs
