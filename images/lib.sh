# Shared by the scripts beside it: state folder, messages, stage timing, content
# keys, locks. Sourced, never run; starts nothing and writes only below the state
# folder. stdout belongs to the scripts' results, so all talk goes to stderr.
# shellcheck shell=bash

IMAGES_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
STATE_DIR=${ETCD_HARNESS_STATE:-${XDG_CACHE_HOME:-$HOME/.cache}/etcd-harness}
# Modes go into images, whatever the caller's own habit.
umask 022
mkdir -p "$STATE_DIR/bin" "$STATE_DIR/cache" "$STATE_DIR/work" "$STATE_DIR/log"

# shellcheck source=images/versions.env
. "$IMAGES_DIR/versions.env"

say() { printf '%s\n' "$*" >&2; }

# Ends the script with one sentence; the code tells a missing means (3) from a failure (1).
die() { say "$(basename "$0"): $1"; exit "${2:-1}"; }

need() { command -v "$1" >/dev/null 2>&1 || die "$1 is needed here: $2" 3; }

# stage NAME COMMAND...: runs it with its output in a log, says how long it took.
# The log's end is shown when it fails, for nobody should have to look for it.
stage() {
    local name=$1 log code start=$SECONDS
    shift
    log="$STATE_DIR/log/$(printf '%s' "$name" | tr -c 'A-Za-z0-9.\n' '-').log"
    say "  $name ..."
    # Not as an if's condition: bash would ignore errexit inside it.
    set +e
    (set -euo pipefail; "$@") >"$log" 2>&1
    code=$?
    set -e
    if [ "$code" != 0 ]; then
        tail -n 25 "$log" >&2
        die "$name failed; all of its output: $log"
    fi
    say "  $name: $((SECONDS - start)) s"
}

sha() { if command -v sha256sum >/dev/null 2>&1; then sha256sum; else shasum -a 256; fi; }

# key PART...: a short content key; a part that is a file or folder counts by its
# content, any other by its text.
key() {
    local part
    for part in "$@"; do
        if [ -d "$part" ]; then
            (cd "$part" && find . -type f | LC_ALL=C sort | while read -r f; do printf '%s ' "$f"; sha <"$f"; done)
        elif [ -f "$part" ]; then
            sha <"$part"
        else
            printf '%s\n' "$part"
        fi
    done | sha | cut -c1-12
}

# lock NAME: one at a time for the rest of the script, as far as the system has flock.
lock() {
    command -v flock >/dev/null 2>&1 || return 0
    exec 9>"$STATE_DIR/$1.lock"
    flock -n 9 || { say "waiting for another $1 ..."; flock 9; }
}

# workdir: a private folder that is gone when the script ends, however it ends.
workdir() {
    WORK=$(mktemp -d "$STATE_DIR/work/$1.XXXXXX")
    trap 'rm -rf "$WORK"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

have_image() { docker image inspect "$1" >/dev/null 2>&1; }

# Docker's word for this machine's architecture.
arch() {
    case "$(docker version --format '{{.Server.Arch}}' 2>/dev/null || uname -m)" in
        x86_64 | amd64) echo amd64 ;;
        aarch64 | arm64) echo arm64 ;;
        *) uname -m ;;
    esac
}

# try_pull IMAGE SECONDS: quiet, and given up on soon: where no registry is to be
# reached, that is known within a second or two, or else after the limit.
try_pull() {
    [ -z "${ETCD_HARNESS_NO_PULL:-}" ] || return 1
    local pid waited=0
    docker pull -q "$1" >/dev/null 2>&1 &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        if [ "$waited" -ge "$2" ]; then
            kill "$pid" 2>/dev/null || true
            wait "$pid" 2>/dev/null || true
            return 1
        fi
        sleep 1
        waited=$((waited + 1))
    done
    wait "$pid"
}
