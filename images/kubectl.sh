#!/usr/bin/env bash
# Gives this machine a kubectl where it has none: the one of the running cluster's node, a static Linux program.
set -euo pipefail
# shellcheck source=images/lib.sh
. "$(dirname "$0")/lib.sh"

if command -v kubectl >/dev/null 2>&1; then exit 0; fi
target="$STATE_DIR/bin/kubectl"
if [ "$(uname -s)" != Linux ]; then
    say "no kubectl on the PATH: install it (https://kubernetes.io/docs/tasks/tools/)"
    exit 0
fi
if ! [ -x "$target" ]; then
    mkdir -p "$STATE_DIR/bin"
    docker cp -L "${ETCD_HARNESS_CLUSTER:-etcd-harness}-control-plane:/usr/bin/kubectl" "$target.part" >/dev/null
    chmod +x "$target.part"
    mv "$target.part" "$target"
fi
say "no kubectl on the PATH: use $target, or: export PATH=\"$STATE_DIR/bin:\$PATH\""
