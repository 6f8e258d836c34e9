#!/usr/bin/env bash
# load.sh CLUSTER IMAGE...: puts images from Docker's store into the nodes of a kind
# cluster, only where they are missing or differ: one archive, all nodes at once.
# Removes nothing from a node, and pulls nothing.
set -euo pipefail
# shellcheck source=images/lib.sh
. "$(dirname "$0")/lib.sh"
[ $# -ge 2 ] || die "usage: load.sh CLUSTER IMAGE..." 2
cluster=$1
shift

nodes=$(docker ps --filter "label=io.x-k8s.kind.cluster=$cluster" --format '{{.Names}} {{.Label "io.x-k8s.kind.role"}}' |
    sed -n -e 's/ control-plane$//p' -e 's/ worker$//p')
[ -n "$nodes" ] || die "no running nodes of a kind cluster named $cluster"

# A name as containerd has it.
full() {
    case $1 in
        *.*/* | *:*/* | localhost/*) echo "$1" ;;
        */*) echo "docker.io/$1" ;;
        *) echo "docker.io/library/$1" ;;
    esac
}

# A node remembers Docker's ID of what was loaded as a label; an image that comes any
# other way replaces the record and the label with it.
label=etcd-harness.id
wanted=()
for image in "$@"; do
    id=$(docker image inspect --format '{{.Id}}' "$image" 2>/dev/null) || die "$image is not in Docker's store"
    wanted+=("$(full "$image") $label=$id")
done

misses() { # NODE: whether any of them is missing there
    local have entry
    have=$(docker exec "$1" ctr -n k8s.io images list 2>/dev/null) || return 0
    for entry in "${wanted[@]}"; do
        awk -v name="${entry% *}" '$1 == name' <<<"$have" | grep -q "${entry#* }" || return 0
    done
    return 1
}

load() { # NODE: the whole archive; layers that are there are not stored twice
    set -e
    local entry flags=(--snapshotter overlayfs)
    if docker exec "$1" ctr images import --help | grep -q discard-unpacked-layers; then
        flags=(--local --discard-unpacked-layers "${flags[@]}")
    fi
    docker exec -i "$1" ctr -n k8s.io images import "${flags[@]}" - <"$WORK/images.tar"
    for entry in "${wanted[@]}"; do
        # shellcheck disable=SC2086  # name and label are two words
        docker exec "$1" ctr -n k8s.io images label $entry
    done
}

lacking=()
for node in $nodes; do
    if misses "$node"; then lacking+=("$node"); fi
done
[ ${#lacking[@]} -gt 0 ] || { say "all nodes of $cluster have them"; exit 0; }

workdir load
start=$SECONDS
begin_to_tell "load images"
docker save -o "$WORK/images.tar" "$@"
pids=()
for node in "${lacking[@]}"; do
    # ctr warns at every call on cgroup v1: shown only when something fails.
    load "$node" >"$WORK/$node.log" 2>&1 &
    pids+=($!)
done
failed=0
for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
end_to_tell
[ $failed = 0 ] || tail -n 5 "$WORK"/*.log >&2
[ $failed = 0 ] || die "not every node of $cluster could load $*"
took "load images" $((SECONDS - start))
say "loaded into ${#lacking[@]} nodes in $((SECONDS - start)) s: $*"
