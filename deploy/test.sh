#!/bin/sh
# Install what the tests need into .venv, then run them: sh deploy/test.sh [PYTEST ARGUMENTS]
#
# Without arguments, all of them, side by side on up to four cores; paths are relative to the checkout. The last line is
# pytest's own.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/deploy/environment.sh"
ensure_environment dev
cd "$root"
[ $# -gt 0 ] || set -- -n auto --maxprocesses 4 --dist worksteal
exec "$venv/bin/python" -m pytest "$@"
