#!/usr/bin/env bash
# Installs what is missing, builds the package, stores and rebuilds the fine-tunes of a small real model with it, and serves the
# page (until Ctrl-C) unless told not to.
#
#   bash pkg-scripts/demo.sh [--no-serve]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

serve=yes
for argument; do
  case $argument in
    --no-serve) serve=no ;;
    *) echo "usage: bash pkg-scripts/demo.sh [--no-serve]" >&2; exit 2 ;;
  esac
done
# shellcheck source=pkg-scripts/setup.sh
. pkg-scripts/setup.sh build
node pkg-scripts/build.mjs
echo
node pkg-scripts/demo.mjs
if [ "$serve" = yes ]; then
  printf '\nThe page, with a sample to try:\n'
  # Any free port, so that a server that runs already is no trouble.
  exec node pkg-scripts/serve.mjs --port 0
fi
