#!/usr/bin/env bash
# Runs the whole test suite in .venv, which it makes first where there is none. Arguments go to pytest, e.g.
#   bash scripts/test.sh tests/evaluation -k floor
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/setup.sh
setup dev
exec "$python" -m pytest "$@"
