# shellcheck shell=bash
# To be sourced: makes tests/interop/.venv with the reference in it and sets `python`.
#
#   . tests/interop/venv.sh [torch]
set -euo pipefail

interop=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$interop/.venv
python=$venv/bin/python

install() { "$python" -m pip install -q --disable-pip-version-check "$@"; }

"$python" -c '' 2>/dev/null || { rm -rf "$venv"; python3 -m venv "$venv"; }
if ! "$python" -c 'import importlib.metadata as m, numpy, safetensors; assert m.version("deltatensors") == "0.2.0"' 2>/dev/null; then
  echo "installing deltatensors 0.2.0 into tests/interop/.venv" >&2
  # The versions that the expectations were taken with; another numpy where this one does not exist for the Python at hand.
  install deltatensors==0.2.0 numpy==2.4.6 safetensors==0.8.0 || install deltatensors==0.2.0 numpy safetensors
fi
if ! "$python" -c 'import blake3, xxhash' 2>/dev/null; then
  echo "installing the hashes of version 2 into tests/interop/.venv" >&2
  install blake3 xxhash
fi
if [ "${1:-}" = torch ] && ! "$python" -c 'import torch' 2>/dev/null; then
  echo "installing torch into tests/interop/.venv (a large download)" >&2
  install torch
fi
