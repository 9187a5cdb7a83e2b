#!/usr/bin/env bash
# The feature store's command line (./fs --help). Makes its Python environment first where that is missing or outdated.
#   FS_HOME  the state folder: everything made at run time lives there (default: .fs beside this file)
#   PYTHON   the Python 3.11 to 3.13 that the environment is made with (default: the newest one on PATH, else uv's choice)
set -euo pipefail

say() { printf 'fs: %s\n' "$1" >&2; }
die() { say "$1 -> $2"; exit 1; }

suits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1; }

find_python() { # prints the interpreter itself, not a shim in front of it; prints nothing if there is none
    local candidate
    if [[ -n ${PYTHON:-} ]]; then
        suits "$PYTHON" || die "PYTHON=$PYTHON is not a working Python 3.11 to 3.13" "name another one, or unset PYTHON"
    fi
    for candidate in ${PYTHON:+"$PYTHON"} python3.13 python3.12 python3.11 python3; do
        if suits "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
}

hold_setup_lock() { # on descriptor 9, which is closed before the command itself starts
    exec 9>"$state/setup.lock"
    if command -v flock >/dev/null; then
        flock -n 9 || { say "another ./fs is setting up this environment; waiting for it"; flock 9; }
    elif [[ -n $python ]]; then
        "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
    fi
}

find_uv() { # sets $uv
    local bootstrap=$state/bootstrap
    uv=$(command -v uv || true)
    [[ -z $uv ]] || return 0
    [[ -n $python ]] || die "neither uv nor a Python 3.11 to 3.13 is on PATH" \
        "install one of them (Debian, Ubuntu: apt-get install -y python3 python3-venv)"
    "$python" "$repo/feature_store/local/bootstrap.py" install "$repo/requirements/uv.txt" "$bootstrap" || exit 1
    uv=$bootstrap/bin/uv
}

choose_cache() { # uv's own cache folder, unless it cannot be written (no HOME, or another user's)
    local cache=${UV_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/uv}
    { mkdir -p "$cache" && [[ -w $cache ]]; } 2>/dev/null || export UV_CACHE_DIR=$state/cache/uv
}

adopt_pip_settings() { # uv does not read pip's; a machine with only these should work all the same
    local index
    if [[ -z ${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-} ]]; then
        index=$("$venv/bin/python" "$repo/feature_store/local/bootstrap.py" index)
        [[ -z $index ]] || export UV_DEFAULT_INDEX=$index
    fi
    [[ -n ${SSL_CERT_FILE:-} || -z ${PIP_CERT:-} ]] || export SSL_CERT_FILE=$PIP_CERT
}

is_current() { [[ -x $venv/bin/python && -f $marker && "$(<"$marker")" == "$(<"$wanted")" ]]; }

progress() { # passes uv's words on, without the list of a hundred packages; prints the last cause of an error
    local line reason=
    while IFS= read -r line; do
        case $line in
            " "[+-]" "* | "Activate with"*) ;;
            "error: "* | "  cause: "* | "  Caused by: "*) reason=${line#*: } ;;
            *) printf '%s\n' "$line" >&2 ;;
        esac
    done
    printf '%s' "$reason"
}

set_up() {
    local python uv reason
    python=$(find_python) || exit 1
    hold_setup_lock
    if is_current; then return; fi # somebody else did it while we waited
    find_uv
    choose_cache
    if [[ ! -f $marker || ! -x $venv/bin/python ]]; then # none, or a half-made one
        say "making the Python environment in $venv"
        reason=$("$uv" venv --no-project --clear --python "${python:->=3.11,<3.14}" "$venv" 2>&1 | progress) \
            || die "the Python environment could not be made (${reason:-see above})" "set PYTHON to a Python 3.11 to 3.13"
    fi
    rm -f "$marker"
    adopt_pip_settings
    say "installing the Python packages; with an empty package cache this takes a minute or two"
    mkdir -p "$state/tmp"
    reason=$(TMPDIR=$state/tmp "$uv" pip sync --python "$venv/bin/python" --require-hashes "$wanted" 2>&1 | progress) \
        || die "the Python packages could not be installed (${reason:-see above})" \
            "check the network, or name a package index that answers in UV_DEFAULT_INDEX; then run the same command again"
    cp "$wanted" "$marker"
}

here=${BASH_SOURCE[0]}
while [[ -L $here ]]; do # started through a link in a folder of programs
    target=$(readlink "$here")
    [[ $target == /* ]] && here=$target || here=${here%/*}/$target
done
repo=$(cd "${here%/*}" && pwd -P)
state=${FS_HOME:-$repo/.fs}
{ mkdir -p "$state" && [[ -w $state ]]; } 2>/dev/null \
    || die "the state folder $state cannot be written" "set FS_HOME to a folder of your own"
state=$(cd "$state" && pwd -P)
venv=$state/venv
wanted=$repo/requirements/main.txt
marker=$venv/requirements.txt # a copy of what was installed, written last

is_current || set_up
exec 9>&-
unset PYTHONDONTWRITEBYTECODE # compiled once, beside the environment: half the start-up time of every process
export FS_HOME=$state PYTHONPYCACHEPREFIX=$state/pycache PYTHONPATH=$repo${PYTHONPATH:+:$PYTHONPATH}
exec "$venv/bin/python" -P -m feature_store.cli "$@"
