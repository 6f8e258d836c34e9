# Shared by the scripts beside it: state folder, messages, stage timing, content
# keys, locks. Sourced, never run; starts nothing and writes only below the state
# folder. stdout belongs to the scripts' results, so all talk goes to stderr.
# shellcheck shell=bash

IMAGES_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
STATE_DIR=${ETCD_HARNESS_STATE:-${XDG_CACHE_HOME:-$HOME/.cache}/etcd-harness}
# Modes go into images, whatever the caller's own habit.
umask 022
mkdir -p "$STATE_DIR/bin" "$STATE_DIR/cache" "$STATE_DIR/work" "$STATE_DIR/log" "$STATE_DIR/took"

# shellcheck source=images/versions.env
. "$IMAGES_DIR/versions.env"

say() { printf '%s\n' "$*" >&2; }

# Ends the script with one sentence; the code tells a missing means (3) from a failure (1).
die() { say "$(basename "$0"): $1"; exit "${2:-1}"; }

need() { command -v "$1" >/dev/null 2>&1 || die "$1 is needed here: $2" 3; }

# A name as a file's.
word() { printf '%s' "$1" | tr -c 'A-Za-z0-9.' '-'; }

# took NAME SECONDS: remembers how long a step takes on this machine. One that was over
# at once has found its work done and says nothing about the next time.
took() { [ "$2" -lt 5 ] || printf '%s\n' "$2" >"$STATE_DIR/took/$(word "$1")"; }

# tell NAME [LOG]: says every 5 s how long a step has run, how long it took the last time
# (if there was one) and the last line of its log; to be run beside it. Ends with the
# script at the latest. Its sleep holds neither our pipes nor our lock.
tell() {
    local start=$SECONDS last line
    set +e
    last=$(cat "$STATE_DIR/took/$(word "$1")" 2>/dev/null)
    while :; do
        for _ in 1 2 3 4 5; do
            sleep 1 2>/dev/null
            kill -0 $$ 2>/dev/null || return
        done
        line=$(tail -n 3 "${2:-/dev/null}" 2>/dev/null | tr '\r' '\n' | tr -cd '[:print:]\n' | grep . | tail -n 1 | cut -c 1-100)
        say "  $1: $((SECONDS - start)) s${last:+ of about $last}${line:+: $line}"
    done
}
TELLER=
begin_to_tell() { tell "$@" </dev/null >/dev/null 9>&- & TELLER=$!; }
# By a signal that cannot be trapped: one that has only just been forked still has our traps.
end_to_tell() {
    [ -z "$TELLER" ] || { kill -KILL "$TELLER" && wait "$TELLER"; } 2>/dev/null || true
    TELLER=
}

# stage NAME COMMAND...: runs it with its output in a log, says how far it is and how
# long it took. The log's end is shown when it fails, so that it need not be searched for.
stage() {
    local name=$1 log code start=$SECONDS
    shift
    log="$STATE_DIR/log/$(word "$name").log"
    say "  $name ..."
    : >"$log"
    begin_to_tell "$name" "$log"
    # Not as an if's condition: bash would ignore errexit inside it.
    set +e
    (set -euo pipefail; "$@") >"$log" 2>&1
    code=$?
    set -e
    end_to_tell
    if [ "$code" != 0 ]; then
        tail -n 25 "$log" >&2
        die "$name failed; all of its output: $log"
    fi
    took "$name" $((SECONDS - start))
    say "  $name: $((SECONDS - start)) s"
}

# beside NAME COMMAND...: runs a command whose own output is to be seen. Where that is a
# terminal, cargo shows there how far it is; elsewhere it may be silent for a minute.
beside() {
    local name=$1 code start=$SECONDS
    shift
    [ -t 2 ] || begin_to_tell "$name"
    set +e
    (set -euo pipefail; "$@")
    code=$?
    set -e
    end_to_tell
    [ "$code" = 0 ] || return "$code"
    took "$name" $((SECONDS - start))
}

# lane COMMAND...: runs a command beside the others until join; each of its stages tells
# of itself. In a process group of its own, so that end_lanes reaches all it has started;
# it also ends with a script that had no time to ask for it.
LANES=()
lane() {
    set -m
    (
        set -euo pipefail
        outlive_nobody </dev/null >/dev/null 2>&1 9>&- &
        # shellcheck disable=SC2064  # the number is known now
        trap "kill -KILL $! 2>/dev/null || true" EXIT
        "$@"
    ) </dev/null &
    LANES+=("$!")
    set +m
}
outlive_nobody() {
    while kill -0 $$; do sleep 1; done
    kill -TERM 0
}

# join: waits for all lanes and ends the script when one failed, which its stage has said:
# what the others have made by then is kept.
join() {
    local pid code=0
    for pid in "${LANES[@]}"; do wait "$pid" || code=$?; done
    LANES=()
    [ "$code" = 0 ] || exit "$code"
}
end_lanes() {
    local pid
    for pid in ${LANES[@]+"${LANES[@]}"}; do kill -TERM -- "-$pid" 2>/dev/null || true; done
    LANES=()
}

sha() { if command -v sha256sum >/dev/null 2>&1; then sha256sum; else shasum -a 256; fi; }

# free_gb FOLDER: whole gigabytes that can still be written there.
free_gb() { df -Pk "$1" | awk 'END {print int($4 / 1e6)}'; }

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
    until flock -w 5 9; do say "waiting for another $1 to end ..."; done
}

# workdir: a private folder that is gone when the script ends, however it ends.
workdir() {
    WORK=$(mktemp -d "$STATE_DIR/work/$1.XXXXXX")
    trap 'end_lanes; rm -rf "$WORK"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# install_go_tool MODULE NAME TARGET: builds a program from its Go module. In the workdir first, under Go's name for it: an
# interrupted build leaves no half tool.
install_go_tool() {
    GOBIN="$WORK" GOFLAGS=-trimpath CGO_ENABLED=0 go install -ldflags '-s -w' "$1"
    mv "$WORK/$2" "$3"
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
        [ $((waited % 5)) != 0 ] || say "  pull $1: $waited s"
    done
    wait "$pid"
}
