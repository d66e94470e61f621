# Sourced by the other scripts: makes .venv beside them when it is missing, and leaves its Python in $PYTHON.
# Plain sh, so that it works with the bash 3.2 of macOS. Usage: . scripts/venv.sh; venv ""  or  venv dev

find_python() {
    for name in "${SELFSIGHT_PYTHON:-}" python3.13 python3.12 python3.11 python3 python3.14; do
        [ -n "$name" ] || continue
        if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$name"
            return 0
        fi
    done
    echo "Selfsight needs Python 3.11 or newer with venv, and found none. Install one (Debian, Ubuntu: apt install" >&2
    echo "python3-venv; macOS: brew install python@3.12), or name one: SELFSIGHT_PYTHON=/path/to/python $0" >&2
    return 2
}

# venv EXTRA: the environment with the run's packages, and those of the extra when one is named.
# A stamp holds pyproject.toml as it was installed, so that a second call is instant and a change is noticed.
venv() {
    extra="$1"
    PYTHON="$ROOT/.venv/bin/python"
    if [ ! -x "$PYTHON" ]; then
        chosen=$(find_python) || return 2
        echo "Making .venv with $("$chosen" --version) ..." >&2
        "$chosen" -m venv "$ROOT/.venv" || return 2
    fi
    stamp="$ROOT/.venv/installed-${extra:-run}.toml"
    for installed in "$stamp" "$ROOT/.venv/installed-dev.toml"; do  # dev holds everything of the run
        if cmp -s "$ROOT/pyproject.toml" "$installed"; then return 0; fi
    done
    echo "Installing Selfsight and what it needs (once; a few minutes) ..." >&2
    what="$ROOT"
    [ -z "$extra" ] || what="$ROOT[$extra]"
    "$PYTHON" -m pip install --quiet --disable-pip-version-check $(processor_only) --editable "$what" || return 2
    cp "$ROOT/pyproject.toml" "$stamp"
}

# On Linux the usual torch brings gigabytes for NVIDIA cards. SELFSIGHT_TORCH_INDEX names an index with smaller builds.
processor_only() {
    [ -z "${SELFSIGHT_TORCH_INDEX:-}" ] || echo "--extra-index-url $SELFSIGHT_TORCH_INDEX"
}
