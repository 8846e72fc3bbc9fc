#!/usr/bin/env bash
# Tests the golden files of version 2 with an independent decoder, and the built package (pkg/) against the Python
# reference's in-memory functions.
#
#   bash tests/interop/run.sh [--seed N] [TEST...]
set -euo pipefail
# shellcheck source=tests/interop/venv.sh
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
"$python" "$interop/test_golden_v2.py"
"$python" "$interop/test_memory_api.py" "$@"
