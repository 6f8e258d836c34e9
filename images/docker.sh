#!/usr/bin/env bash
# Makes sure that a Docker daemon answers. Whatever already answers is used as it is
# and never reconfigured. Only as root on Debian does it install and start one; it
# leaves apt's configuration and every other daemon alone. Exit 3: nothing it may do.
set -euo pipefail
# shellcheck source=images/lib.sh
. "$(dirname "$0")/lib.sh"

answers() { docker info >/dev/null 2>&1; }

if answers; then exit 0; fi
[ "$(id -u)" = 0 ] ||
    die "no Docker daemon answers (DOCKER_HOST=${DOCKER_HOST:-unset}): start Docker, or give this user access to it, and try again" 3
lock docker
if answers; then exit 0; fi

systemd_runs() { [ -d /run/systemd/system ]; }

# CAP_SYS_RESOURCE (bit 24): without it runtimes of Debian 12's age cannot start
# privileged containers, which kind's nodes are.
may_raise_limits() {
    local bits
    bits=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
    [ $((0x$bits >> 24 & 1)) = 1 ]
}

# Downloads the next release's packages into $1, with a package database of its
# own, from the mirror that this machine's apt already uses.
fetch_newer() {
    local dir=$1 mirror keyring
    # shellcheck disable=SC2016  # apt's own placeholders
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 'Component: main' | head -n1)
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -n "$mirror" ] && [ -r "$keyring" ] || return 1
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/debs"
    echo "deb [signed-by=$keyring] $mirror trixie main" >"$dir/sources.list"
    local -a own=(-o "Dir::Etc::SourceList=$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
        -o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir/cache" -o APT::Sandbox::User=root)
    apt-get "${own[@]}" update
    (cd "$dir/debs" && apt-get "${own[@]}" download docker.io containerd)
}

install_docker() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update
    if [ "$(. /etc/os-release && echo "$VERSION_CODENAME")" = bookworm ] && ! may_raise_limits; then
        fetch_newer "$WORK"
        apt-get install -y --no-install-recommends "$WORK"/debs/*.deb runc iptables
    else
        apt-get install -y --no-install-recommends docker.io iptables
    fi
}

if ! command -v dockerd >/dev/null 2>&1; then
    if ! command -v apt-get >/dev/null 2>&1 || ! grep -qs '^ID=debian' /etc/os-release; then
        die "no Docker daemon is installed, and only on Debian can this script install one: install Docker and try again" 3
    fi
    workdir docker
    stage "install docker" install_docker
fi

if systemd_runs; then
    systemctl start docker
else
    # A daemon that was killed leaves its pid files; a number that belongs to another
    # program by now, or to the dead daemon where nothing reaps it, would keep the next
    # one from starting. (A zombie's command line is empty.)
    running() { { tr '\0' ' ' <"/proc/$(cat "$1")/cmdline"; } 2>/dev/null | grep -q "$2"; }
    if [ -e /var/run/docker.pid ] && ! running /var/run/docker.pid dockerd; then
        rm -f /var/run/docker.pid
    fi
    file=/var/run/docker/containerd/containerd.pid
    if [ -e "$file" ] && ! running "$file" /var/run/docker/containerd; then
        rm -f "$file"
    fi
    # Its own session and no terminal: it outlives the make that started it.
    setsid --fork dockerd </dev/null >>"$STATE_DIR/log/dockerd.log" 2>&1 9>&-
fi

# A daemon that was killed first ends the containers that it had: 15 s for six nodes.
begin_to_tell "dockerd starts"
for _ in $(seq 120); do
    if answers; then break; fi
    sleep 0.5
done
end_to_tell
answers || die "dockerd does not answer after 60 s; its log: $STATE_DIR/log/dockerd.log"

# Nodes of kind clusters that went down with a killed daemon.
for node in $(docker ps -aq --filter label=io.x-k8s.kind.cluster --filter status=exited); do
    docker start "$node" >/dev/null || say "node container $node does not start again"
done
say "docker $(docker version --format '{{.Server.Version}}') answers"
