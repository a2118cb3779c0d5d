#!/bin/sh
# Install halo into .venv beside this checkout (once), then run it: sh deploy/start.sh demo
#
# Needs Python 3.11 or newer, and nothing else; uses uv where it is on the PATH. Arguments are those of `halo`, paths in
# them are relative to where you stand. The environment is made again when the project's dependencies change.
# HALO_PYTHON names another interpreter.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/deploy/environment.sh"
ensure_environment run
exec "$venv/bin/halo" "$@"
