#!/usr/bin/env bash
# Runs inside the container that becomes the node image, after its files are in place:
# settles systemd and containerd as kind's own image does, builds the images that
# kubeadm and kind expect out of what the node already has, and unpacks them.
# Reaches no network, and removes itself and its parts at the end.
# setup.sh VERSION COREDNS_TAG ETCD_TAG PROVISIONER_IMAGE HELPER_IMAGE
set -euo pipefail
version=$1 coredns=$2 etcd=$3 provisioner=$4 helper=$5
parts=/parts            # binaries that live in images only
store=/store            # a volume: overlayfs cannot be stacked on the container's own
address=/run/build.sock

# --- systemd: only containerd and the kubelet, as in kind's Dockerfile
rm -f /lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service \
    /lib/systemd/system/multi-user.target.wants/* /etc/systemd/system/*.wants/* \
    /lib/systemd/system/local-fs.target.wants/* /lib/systemd/system/sockets.target.wants/*udev* \
    /lib/systemd/system/sockets.target.wants/*initctl* /lib/systemd/system/basic.target.wants/*
echo "ReadKMsg=no" >>/etc/systemd/journald.conf
ln -sf /usr/lib/systemd/systemd /sbin/init
systemctl enable kubelet.service containerd.service undo-mount-hacks.service service-guard.service
systemctl mask systemd-binfmt.service
mkdir -p /etc/kubernetes/manifests /var/lib/containerd

# --- Kubernetes: one binary, many names
for name in kubelet kubeadm kubectl; do ln -sf kube "/usr/bin/$name"; done
printf '%s' "$version" >/kind/version

# --- containerd: its network from the kubelet's pod range, and no lowering of OOM
# scores, which needs CAP_SYS_RESOURCE
sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' /etc/containerd/config.toml
cat >>/etc/containerd/config.toml <<'TOML'

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/opt/cni/bin"
  conf_dir = "/etc/cni/net.d"
  conf_template = "/kind/cni.conflist.template"
TOML
ctr oci spec |
    jq '.hooks.createContainer[.hooks.createContainer | length] |= . + {"path": "/kind/bin/mount-product-files.sh"}' |
    jq 'del(.process.rlimits)' >/etc/containerd/cri-base.json

# --- images
cat >/run/build.toml <<TOML
version = 3
root = "$store"
state = "/run/build"
[grpc]
  address = "$address"
TOML
containerd --config /run/build.toml >/run/build.log 2>&1 &
daemon=$!
for _ in $(seq 100); do
    if [ -S $address ] && ctr --address $address version >/dev/null 2>&1; then break; fi
    sleep 0.1
done

# with_libraries TREE FILE...: the files, and the shared libraries they need, at the same paths.
with_libraries() {
    local tree=$1 file
    shift
    for file in "$@"; do
        cp -L --parents "$file" "$tree"
        { ldd "$file" 2>/dev/null || true; } | awk '{for (i = 1; i <= NF; i++) if ($i ~ /^\//) print $i}' |
            while read -r library; do
                [ -e "$tree$library" ] || cp -L --parents "$library" "$tree"
            done
    done
}

# image TREE ENTRYPOINT-JSON NAME...: the tree as an image of one layer, under all the names.
image() {
    local tree=$1 entrypoint=$2 work diff
    shift 2
    work=$(mktemp -d /store/image.XXXXXX)
    tar -C "$tree" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$work/layer.tar" .
    diff=$(sha256sum <"$work/layer.tar" | cut -d' ' -f1)
    jq -n --arg arch "$(dpkg --print-architecture)" --arg diff "sha256:$diff" --argjson entrypoint "$entrypoint" \
        '{architecture: $arch, os: "linux", rootfs: {type: "layers", diff_ids: [$diff]},
          config: {Entrypoint: $entrypoint, Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}}' \
        >"$work/config.json"
    jq -n '[{Config: "config.json", RepoTags: $ARGS.positional, Layers: ["layer.tar"]}]' --args "$@" >"$work/manifest.json"
    tar -C "$work" -cf - manifest.json config.json layer.tar |
        ctr --address $address -n k8s.io images import --local --discard-unpacked-layers \
            --label io.cri-containerd.pinned=pinned -
    rm -rf "$work" "$tree"
}

tree() { mktemp -d /store/tree.XXXXXX; }

busybox() {
    mkdir -p "$1/bin" "$1/tmp"
    cp /bin/busybox "$1/bin/busybox"
    for name in sh cat chmod chown cp grep ln ls mkdir mv rm sleep; do ln -s busybox "$1/bin/$name"; done
}

t=$(tree); with_libraries "$t" /usr/bin/catatonit
image "$t" '["/usr/bin/catatonit", "-P"]' "$(sed -n 's/.*sandbox_image = "\(.*\)"/\1/p' /etc/containerd/config.toml)"

t=$(tree); busybox "$t"
mkdir -p "$t/usr/local/bin" "$t/usr/sbin"
cp /usr/bin/kube "$t/usr/local/bin/kube"
for name in kube-apiserver kube-controller-manager kube-scheduler kube-proxy; do ln -s kube "$t/usr/local/bin/$name"; done
xtables=$(dirname "$(dpkg -L libxtables12 | grep 'libxtables.so' | head -n1)")/xtables
with_libraries "$t" /usr/sbin/xtables-nft-multi /usr/sbin/xtables-legacy-multi /usr/sbin/nft "$xtables"/*.so
# Without it nft lists "6" for "tcp", and a kube-proxy that restarts takes its own old rules for another program's.
cp -L --parents /etc/protocols "$t"
cp /parts/iptables-wrapper "$t/usr/sbin/iptables-wrapper"
for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    ln -s iptables-wrapper "$t/usr/sbin/$name"
done
mkdir -p "$t/run" "$t/etc" "$t/lib/modules"
repository=registry.k8s.io
image "$t" null "$repository"/kube-{apiserver,controller-manager,scheduler,proxy}:"$version"

t=$(tree); mkdir -p "$t/usr/local/bin"; mv $parts/etcd "$t/usr/local/bin/"
image "$t" null "$repository/etcd:$etcd"

t=$(tree); mv $parts/coredns "$t/coredns"
image "$t" '["/coredns"]' "$repository/coredns/coredns:$coredns"

t=$(tree); mkdir -p "$t/usr/local/bin" "$t/tmp"; mv $parts/local-path-provisioner "$t/usr/local/bin/"
image "$t" null "$provisioner"

t=$(tree); busybox "$t"
image "$t" null "$helper"

t=$(tree); mv $parts/podroutes "$t/podroutes"
image "$t" '["/podroutes"]' docker.io/etcd-harness/podroutes:node

# kubeadm must find all that it will ask for. (Its pause image is not used: kind's is.)
present=$(ctr --address $address -n k8s.io images list -q)
for name in $(kubeadm config images list --kubernetes-version "$version" | grep -v /pause:); do
    grep -qxF "$name" <<<"$present" || { echo "kubeadm wants $name; there are: $present"; exit 1; }
done
kill $daemon
wait $daemon || true
rm -rf $store/tmpmounts $store/image.* $store/tree.*
cp -a $store/. /var/lib/containerd/
du -sh /var/lib/containerd /var/lib/containerd/* /usr /opt
rm -rf $parts /setup.sh /run/build* /root/.kube
