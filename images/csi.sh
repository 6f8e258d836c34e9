#!/usr/bin/env bash
# csi.sh: makes etcd-harness/csi:dev available in Docker's store: the driver below csi/ whose volumes grow, and the
# provisioner and the resizer of Kubernetes' own sidecars, all from Go modules. Also tagged by content.
set -euo pipefail
# shellcheck source=images/lib.sh
. "$(dirname "$0")/lib.sh"

image=etcd-harness/csi
need go "the CSI driver and its sidecars are built from Go modules (https://go.dev/dl)"
hash=$(key "$0" "$IMAGES_DIR/csi" "$(arch)")
if ! have_image "$image:$hash"; then
    lock csi
    workdir csi
    build() {
        cp -r "$IMAGES_DIR/csi" "$WORK/module"
        mkdir -p "$WORK/root"
        cd "$WORK/module"
        GOWORK=off CGO_ENABLED=0 go test -vet=off -mod=readonly -trimpath .
        GOWORK=off CGO_ENABLED=0 GOOS=linux GOARCH=$(arch) go build -mod=readonly -p 2 -trimpath -ldflags '-s -w' \
            -o "$WORK/root/" . github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner \
            github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer
        mkdir "$WORK/root/host"
        tar -C "$WORK/root" --format=ustar --owner=0 --group=0 -cf - . | docker import --platform "linux/$(arch)" \
            --change 'USER 65532:65532' --change 'ENTRYPOINT ["/csi-memory"]' - "$image:$hash"
    }
    have_image "$image:$hash" || stage "build $image" build
fi
docker tag "$image:$hash" "$image:dev"
say "$image:dev $hash"
