#!/usr/bin/env bash
# Makes a kind node image available in Docker's store; its reference is the last line of
# stdout. Where a registry answers that is kind's own image, by digest; else the same
# Kubernetes is built from Go modules and Debian packages, once (about 15 min on two
# cores, 4 GB of disk), under a tag that is a hash of everything it is made from.
# The tag is set last, so an interrupted build leaves no image, only parts to resume with.
set -euo pipefail
# shellcheck source=images/lib.sh
. "$(dirname "$0")/lib.sh"

built=etcd-harness/node:$KUBERNETES_VERSION-$(key "$IMAGES_DIR/versions.env" "$IMAGES_DIR/node" "$IMAGES_DIR/node.sh")

found() { # the stock image first, then one built before
    local image
    for image in "$KIND_NODE_IMAGE" "$built"; do
        if have_image "$image"; then echo "$image"; return; fi
    done
    return 1
}
if found; then exit 0; fi
lock node
if found; then exit 0; fi

kind=$("$IMAGES_DIR/tools.sh" | tail -n1)
grep -aq "$KIND_NODE_IMAGE" "$kind" ||
    die "kind $KIND_VERSION does not go with $KIND_NODE_IMAGE: set both in images/versions.env together"
if try_pull "$KIND_NODE_IMAGE" 1200; then echo "$KIND_NODE_IMAGE"; exit 0; fi
say "no registry has $KIND_NODE_IMAGE for this machine: assembling a node image"

[ "$(uname -s)" = Linux ] || die "without a registry a node image can be assembled only on Linux" 3
need go "Kubernetes is built from its Go modules where no registry can be reached"
need apt-get "the node's file system comes from Debian's packages where no registry can be reached"
if ! command -v mmdebstrap >/dev/null 2>&1; then
    [ "$(id -u)" = 0 ] || die "mmdebstrap is needed to make the node's file system: install it" 3
    stage "install mmdebstrap" bash -c 'apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends mmdebstrap'
fi
workdir node
export GOWORK=off CGO_ENABLED=0 GOOS=linux
GOARCH=$(arch)
export GOARCH

# part NAME KEY FUNCTION: sets $part to the folder of something built, and remembers what
# is not there yet. The function writes to the folder it is given.
missing=()
part() {
    part="$STATE_DIR/cache/$1-$(key "$2" "$GOARCH" "$(declare -f "$3" go_module go_commands)")"
    [ -d "$part" ] || missing+=("$1 $3 $part")
}

# build_parts NAME...: those of them that are missing, one after the other.
build_parts() {
    local wanted=" $* " entry name function path
    for entry in ${missing[@]+"${missing[@]}"}; do
        read -r name function path <<<"$entry"
        [[ $wanted == *" $name "* ]] || continue
        mkdir -p "$WORK/$name"
        stage "build $name" "$function" "$WORK/$name"
        mv "$WORK/$name" "$path"
    done
}

# go_module FOLDER OUT LDFLAGS TAGS: one program from a module of this repository.
go_module() {
    local name
    name=$(basename "$1")
    cp -r "$1" "$WORK/src-$name"
    cd "$WORK/src-$name"
    go build -mod=readonly -p 2 -trimpath -tags "$4" -ldflags "-s -w $3" -o "$2/$name" .
}

# go_commands OUT MODULE@VERSION LDFLAGS TAGS PATH...: programs of a published module, in
# one build: one links while another compiles.
go_commands() {
    local out=$1 module=${2%@*} version=${2#*@} ldflags=$3 tags=$4
    shift 4
    local -a programs=("${@/#/$module/}")
    GOBIN=$out go install -p 2 -trimpath -tags "$tags" -ldflags "-s -w $ldflags" "${programs[@]/%/@$version}"
}

build_kube() {
    local flags="" at number=${KUBERNETES_VERSION#v}
    for at in k8s.io/client-go/pkg/version k8s.io/component-base/version; do
        flags+=" -X $at.gitVersion=$KUBERNETES_VERSION -X $at.gitTreeState=module -X $at.gitCommit=module"
        flags+=" -X $at.gitMajor=${number%%.*} -X $at.gitMinor=$(cut -d. -f2 <<<"$number")"
    done
    go_module "$IMAGES_DIR/node/kube" "$1" "$flags" providerless
}
build_coredns() { go_module "$IMAGES_DIR/node/coredns" "$1" "" ""; }
build_podroutes() { go_module "$IMAGES_DIR/node/podroutes" "$1" "" ""; }
build_containerd() {
    go_commands "$1" "github.com/containerd/containerd/v2@$NODE_CONTAINERD_VERSION" \
        "-X github.com/containerd/containerd/v2/version.Version=$NODE_CONTAINERD_VERSION" \
        "no_aufs no_btrfs no_devmapper no_zfs" cmd/containerd cmd/containerd-shim-runc-v2 cmd/ctr
}
build_cni() {
    go_commands "$1" "github.com/containernetworking/plugins@$NODE_CNI_PLUGINS_VERSION" "" "" \
        plugins/main/ptp plugins/main/loopback plugins/ipam/host-local plugins/meta/portmap
}
build_local-path() {
    GOBIN=$1 go install -p 2 -trimpath -ldflags '-s -w' "github.com/rancher/local-path-provisioner@$NODE_LOCAL_PATH_VERSION"
}

# The mirror is whichever this machine's apt uses.
# shellcheck disable=SC2016  # placeholders of apt and mmdebstrap
build_rootfs() {
    local mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Component: main' | grep -v security | head -n1)
    [ -n "$mirror" ] || { echo "apt knows no Debian mirror: run 'apt-get update' on a Debian machine"; return 1; }
    mmdebstrap --variant=minbase --include="$(paste -sd, "$IMAGES_DIR/node/packages.txt")" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/lib/udev/hwdb.d/*' \
        --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/* "$1"/usr/share/i18n "$1"/usr/share/zoneinfo "$1"/var/log/*.log' \
        "$NODE_DEBIAN_SUITE" "$1/rootfs.tar" "$mirror"
}

part kube "$IMAGES_DIR/node/kube" build_kube; kube=$part
part containerd "$NODE_CONTAINERD_VERSION" build_containerd; containerd=$part
part cni "$NODE_CNI_PLUGINS_VERSION" build_cni; cni=$part
part coredns "$IMAGES_DIR/node/coredns" build_coredns; coredns=$part
part local-path "$NODE_LOCAL_PATH_VERSION" build_local-path; local_path=$part
part podroutes "$IMAGES_DIR/node/podroutes" build_podroutes; podroutes=$part
part rootfs "$IMAGES_DIR/node/packages.txt" build_rootfs; rootfs=$part

# Half of the work is Kubernetes, which links for a while on one processor; the packages
# come from the network and are unpacked on one, too.
build_etcd() { "$IMAGES_DIR/etcd.sh" --binaries "$NODE_ETCD_VERSION" >/dev/null; }
build_others() { build_parts rootfs containerd cni coredns local-path podroutes; build_etcd; }
lane build_parts kube
lane build_others
join
etcd=$("$IMAGES_DIR/etcd.sh" --binaries "$NODE_ETCD_VERSION" | tail -n1)
files=$(cd / && go mod download -json "sigs.k8s.io/kind@$KIND_VERSION" | sed -n 's/^.*"Dir": "\(.*\)",*$/\1/p')
storage=$files/pkg/build/nodeimage/const_storage.go
[ -r "$storage" ] || die "kind's own files are not in its module"
const() { sed -n "s/^const $1 = \"\(.*\)\"/\1/p" "$storage"; }
provisioner=$(const storageProvisionerImage)
helper=$(const storageHelperImage)

# Everything that is added to the Debian packages, in one tree.
lay_out() {
    local tree=$1
    mkdir -p "$tree"/{usr/bin,usr/local/bin,opt/cni/bin,kind/manifests,parts}
    cp -r --no-preserve=mode,ownership "$files/images/base/files/." "$tree/"
    rm -rf "$tree/LICENSES"
    chmod 755 "$tree"/usr/local/bin/* "$tree"/kind/bin/*
    cp "$kube/kube" "$tree/usr/bin/"
    cp "$containerd"/* "$tree/usr/local/bin/"
    cp "$cni"/* "$tree/opt/cni/bin/"
    cp "$coredns/coredns" "$local_path/local-path-provisioner" "$podroutes/podroutes" "$etcd/etcd" "$tree/parts/"
    cp "$IMAGES_DIR/node/iptables-wrapper" "$tree/parts/"
    chmod 755 "$tree/parts/iptables-wrapper"
    cp "$IMAGES_DIR/node/cni.conflist.template" "$IMAGES_DIR/node/service-guard.nft" "$tree/kind/"
    cp "$IMAGES_DIR/node/service-guard.service" "$tree/etc/systemd/system/"
    cp "$IMAGES_DIR/node/default-cni.yaml" "$tree/kind/manifests/"
    # The manifest is a Go string joined with the two names.
    # shellcheck disable=SC2016
    sed -n '/^const defaultStorageManifest = `/,/^`/p' "$storage" |
        sed -e '1d;$d' -e "s#\` + storageProvisionerImage + \`#$provisioner#" -e "s#\` + storageHelperImage + \`#$helper#" \
            >"$tree/kind/manifests/default-storage.yaml"
    grep -q '^kind: StorageClass' "$tree/kind/manifests/default-storage.yaml"
    cp "$IMAGES_DIR/node/setup.sh" "$tree/setup.sh"
}

assemble() {
    local base container
    lay_out "$WORK/tree"
    base=$(docker import "$rootfs/rootfs.tar")
    echo "$base" >"$WORK/base"
    # A volume by --mount: one by -v would be declared in the image that is committed.
    container=$(docker run -d --privileged --network none --mount type=volume,target=/store --entrypoint sleep "$base" infinity)
    echo "$container" >"$WORK/container"
    tar -C "$WORK/tree" --owner=0 --group=0 --numeric-owner -cf - . |
        docker exec -i "$container" tar --no-overwrite-dir --keep-directory-symlink -C / -xf -
    docker exec "$container" bash /setup.sh "$KUBERNETES_VERSION" "$NODE_COREDNS_VERSION" "${NODE_ETCD_VERSION#v}-0" "$provisioner" "$helper"
    docker stop -t 0 "$container"
    docker commit --change 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]' --change 'ENV container=docker' \
        --change 'STOPSIGNAL SIGRTMIN+3' "$container" "$built"
}

# What a build leaves in Docker's store, however it ends.
clean() {
    end_lanes
    if [ -s "$WORK/container" ]; then docker rm -fv "$(cat "$WORK/container")" >/dev/null 2>&1 || true; fi
    # Goes only if no image was made of it.
    if [ -s "$WORK/base" ]; then docker rmi "$(cat "$WORK/base")" >/dev/null 2>&1 || true; fi
    rm -rf "$WORK"
}
trap clean EXIT
stage "assemble $built" assemble

# What this build has replaced: parts under other keys, and images that no node runs.
for path in "$kube" "$containerd" "$cni" "$coredns" "$local_path" "$podroutes" "$rootfs"; do
    for other in "${path%-*}"-*; do
        [ "$other" = "$path" ] || rm -rf "$other"
    done
done
for other in $(docker images --format '{{.Repository}}:{{.Tag}}' etcd-harness/node); do
    [ "$other" = "$built" ] || docker rmi "$other" >/dev/null 2>&1 || true
done
say "  $built: $(docker image inspect --format '{{.Size}}' "$built" | awk '{printf "%d MB", $1 / 1000000}')"
echo "$built"
