#!/usr/bin/env bash
# Finds or makes the command line tools that a cluster needs: kind at exactly the
# release of versions.env. What the PATH has is used when it fits, the
# rest goes to the state folder's bin; nothing is installed anywhere else.
# The last line of stdout is the path of kind.
set -euo pipefail
# shellcheck source=images/lib.sh
. "$(dirname "$0")/lib.sh"

# kind's node image and its flags go together with its release: no other will do.
fits() { [ -x "$1" ] && [ "$("$1" version 2>/dev/null | cut -d' ' -f1,2)" = "kind $KIND_VERSION" ]; }

find_kind() {
    local path
    for path in "$(command -v kind || true)" "$STATE_DIR/bin/kind"; do
        if fits "$path"; then echo "$path"; return; fi
    done
    return 1
}

if ! find_kind >/dev/null; then
    need go "either kind $KIND_VERSION on the PATH (https://kind.sigs.k8s.io), or Go to build it with"
    lock tools
    workdir tools
    find_kind >/dev/null || stage "build kind $KIND_VERSION" \
        install_go_tool "sigs.k8s.io/kind@$KIND_VERSION" kind "$STATE_DIR/bin/kind"
fi
find_kind
