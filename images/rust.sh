#!/usr/bin/env bash
# rust.sh [NAME...]: static Linux binaries of this repository's own programs, each as an
# image etcd-harness/NAME:dev from scratch, run by an ordinary user (default: all six).
# Also tagged by content: what did not change keeps its image ID, so it is not loaded
# into nodes again. Builds in a target folder of its own, and never changes the lock file.
set -euo pipefail
# shellcheck source=images/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=images/crates.sh
. "$(dirname "$0")/crates.sh"

repo=$(dirname "$IMAGES_DIR")
target=$(uname -m | sed 's/^arm64$/aarch64/')-unknown-linux-gnu
out=$repo/target/images
[ $# -gt 0 ] || set -- operator kbagent metrics-exporter etcd-backup workload pod-policies
names=("$@")

# glibc's static form, since another target's libraries may not be installable. A
# target given by name keeps the flags away from build scripts and macros.
flags=(--release --locked --target "$target" --target-dir target/images)
for name in "${names[@]}"; do flags+=(--bin "$name"); done

# `cargo run` tells its program about the package it is of; build scripts (ring's) would take that for a change.
unset "${!CARGO_PKG_@}" "${!CARGO_MANIFEST_@}"

build() {
    cd "$repo"
    RUSTFLAGS='-C target-feature=+crt-static' cargo build "${flags[@]}" >&2
}

say "building ${names[*]}"
if [ "$(uname -s)" = Linux ] && command -v cargo >/dev/null 2>&1; then
    use_crates images "$repo/target/images" release "$target/release"
    beside "compile the images' programs" build
    keep_crates
else
    version=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$repo/rust-toolchain.toml")
    beside "compile the images' programs" docker run --rm -v "$repo:/src" -v etcd-harness-cargo:/usr/local/cargo/registry -w /src \
        -e RUSTFLAGS='-C target-feature=+crt-static' "rust:$version" cargo build "${flags[@]}" >&2
fi

workdir rust

for name in "${names[@]}"; do
    binary=$out/$target/release/$name
    [ -x "$binary" ] || die "$binary was not built"
    hash=$(key "$binary" "$0" "$name")
    image=etcd-harness/$name
    if ! have_image "$image:$hash"; then
        rm -rf "$WORK/root"
        mkdir -p "$WORK/root"
        cp "$binary" "$WORK/root/$name"
        chmod 755 "$WORK/root/$name"
        COPYFILE_DISABLE=1 tar -C "$WORK/root" --format=ustar -cf - "$name" | docker import --platform "linux/$(arch)" --change 'USER 65532:65532' \
            --change "ENTRYPOINT [\"/$name\"]" - "$image:$hash" >/dev/null
    fi
    docker tag "$image:$hash" "$image:dev"
    say "$image:dev $hash $(docker image inspect --format '{{.Size}}' "$image:dev" | awk '{printf "%.1f MB", $1 / 1000000}')"
done
