# Sourced by start.sh and test.sh: makes $root/.venv. stdout stays free for data; talk goes to stderr.

venv="$root/.venv"

fail() {
    printf 'error: %s\nhint:  %s\n' "$1" "$2" >&2
    exit 2
}

is_python_311() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for candidate in ${HALO_PYTHON:-python3 python3.11 python3.12 python3.13 python3.14 python}; do
        if is_python_311 "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

# Make the environment. Debian's python3 lacks ensurepip unless python3-venv is there; pip alone is enough then.
make_venv() {
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --clear --python "${HALO_PYTHON:->=3.11}" "$venv" >&2 \
            || fail "uv could not make $venv" "its message is above; HALO_PYTHON names an interpreter of your own"
        return
    fi
    python=$(find_python) || fail "halo needs Python 3.11 or newer; found: $("${HALO_PYTHON:-python3}" --version 2>&1 || true)" \
        "install one (Debian 12: apt-get install python3 python3-venv), or name it: HALO_PYTHON=/path/to/python3.11"
    rm -rf "$venv"
    "$python" -m venv "$venv" >/dev/null 2>&1 && return
    rm -rf "$venv"
    "$python" -m pip --version >/dev/null 2>&1 || fail "$python can make no virtual environment: it has neither ensurepip nor pip" \
        "Debian and Ubuntu: apt-get install python3-venv"
    "$python" -m venv --without-pip "$venv" >&2 || fail "$python -m venv failed" "its message is above"
}

# install ARGS…: with uv, the environment's own pip, or (Debian without ensurepip) the pip outside of it.
install() {
    if command -v uv >/dev/null 2>&1; then
        uv pip install --quiet --python "$venv/bin/python" "$@" >&2
    elif [ -x "$venv/bin/pip" ]; then
        "$venv/bin/python" -m pip --quiet --disable-pip-version-check install "$@" >&2
    else
        "$(find_python)" -m pip --quiet --disable-pip-version-check --python "$venv/bin/python" install "$@" >&2
    fi || fail "the installation into $venv failed" "the message above says why; behind a proxy or mirror, configure pip for it"
}

# ensure_environment run|dev: the stamp is written last, so that an interrupted installation is done again.
ensure_environment() {
    wanted=$(cat "$root/pyproject.toml" "$root/requirements-dev.txt" "$root"/halo_receiver/wire/*.[ch] | cksum)
    stamp="$venv/.halo-$1"
    is_python_311 "$venv/bin/python" || make_venv
    if [ ! -x "$venv/bin/halo" ] || [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        if [ "$1" = dev ]; then
            printf 'halo: installing what the tests need into %s …\n' "$venv" >&2
            install -r "$root/requirements-dev.txt"
        else
            printf 'halo: installing into %s (once) …\n' "$venv" >&2
        fi
        install -c "$root/requirements-dev.txt" -e "$root"
        printf '%s\n' "$wanted" > "$stamp"
    fi
}
