#!/usr/bin/env bash
# release.sh [OPTION...] [NAME...]: everything of a release, in dist/VERSION (default: all names):
#   images/NAME                      OCI layout: operator, kbagent, metrics-exporter, etcd-backup, workload, for each architecture
#   kubectl-kbetcd-linux-ARCH.tar.gz the kubectl plugin
#   harness-linux-ARCH.tar.gz        the harness
#   NAME.cdx.json                    SBOM of each program, by hack/sbom
#   SHA256SUMS                       of all files; images count by the digest of their index
# Options:
#   --arch ARCH[,ARCH]   amd64 and arm64 by default; what cannot be linked here ends it with exit code 3, before anything is built
#   --source URL         where the source is published; without it images do not name one
#   --no-sbom            leaves the SBOM out
#   --twice              builds all of it in another folder again, and compares
# release.sh --sums FOLDER: only writes SHA256SUMS again, for files that were added.
# The version is Cargo.toml's, the time is the commit's (SOURCE_DATE_EPOCH overrides it). Nothing is pushed or signed.
set -euo pipefail
# shellcheck source=images/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=images/oci.sh
. "$(dirname "$0")/oci.sh"

repo=$(dirname "$IMAGES_DIR")
cd "$repo"
architectures=amd64,arm64
SOURCE=
sbom=1
twice=
sums_of=
while [ $# -gt 0 ]; do
    case $1 in
        --arch) architectures=${2:?--arch amd64,arm64}; shift 2 ;;
        --source) SOURCE=${2:?--source URL}; shift 2 ;;
        --no-sbom) sbom=; shift ;;
        --twice) twice=1; shift ;;
        --sums) sums_of=${2:?--sums FOLDER}; shift 2 ;;
        -*) die "$1: not an option: --arch, --source, --no-sbom, --twice, --sums" 2 ;;
        *) break ;;
    esac
done
all=(operator kbagent metrics-exporter etcd-backup workload kubectl-kbetcd harness)
# Those that are archives and no images.
tools=(kubectl-kbetcd harness)
names=("$@")
[ $# -gt 0 ] || names=("${all[@]}")
for name in "${names[@]}"; do
    [[ " ${all[*]} " == *" $name "* ]] || die "$name: not a program of a release: ${all[*]}" 2
done

VERSION=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
REVISION=$(git rev-parse HEAD)
[ -z "$(git status --porcelain)" ] || { REVISION=; say "the work tree has changes: the images name no revision"; }
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
CREATED=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)

triple() {
    case $1 in
        amd64) echo x86_64-unknown-linux-gnu ;;
        arm64) echo aarch64-unknown-linux-gnu ;;
        *) die "$1: not an architecture: amd64, arm64" 2 ;;
    esac
}

# linker ARCH: the C compiler that links for it.
linker() {
    case $(uname -m)-$1 in
        x86_64-amd64 | aarch64-arm64) echo cc ;;
        *-amd64) echo "${CC_x86_64_unknown_linux_gnu:-x86_64-linux-gnu-gcc}" ;;
        *-arm64) echo "${CC_aarch64_unknown_linux_gnu:-aarch64-linux-gnu-gcc}" ;;
    esac
}

# can_link ARCH: whether a C program can be linked for it here, statically, and Rust has its library.
can_link() {
    local target
    target=$(triple "$1")
    [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ] ||
        die "$1 cannot be built here: rustup target add $target; or --arch with what can be" 3
    command -v "$(linker "$1")" >/dev/null ||
        die "$1 cannot be linked here: no $(linker "$1") (Debian: gcc and libc6-dev of that architecture); or --arch with what can be" 3
    printf '#include <stdio.h>\nint main(void) { return puts("x") < 0; }\n' >"$WORK/probe.c"
    "$(linker "$1")" -static -o "$WORK/probe" "$WORK/probe.c" 2>"$WORK/probe.log" ||
        die "$1 cannot be linked here: $(head -n 1 "$WORK/probe.log"); or --arch with what can be" 3
    is_for "$1" "$WORK/probe"
}

# is_for ARCH PROGRAM: refuses a program for another machine.
is_for() {
    local machine
    machine=$(od -An -tx1 -j18 -N1 "$2" | tr -d ' ')
    case $1-$machine in
        amd64-3e | arm64-b7) ;;
        *) die "$2 is not for $1: its ELF header says machine 0x$machine" ;;
    esac
}

# compile ARCH TARGET_FOLDER: static programs without the paths of this machine.
compile() {
    local target variable flag
    local -a flags=(--release --locked --target-dir "$2")
    target=$(triple "$1")
    variable=${target//-/_}
    for flag in "${names[@]}"; do flags+=(--bin "$flag"); done
    export RUSTFLAGS="-C target-feature=+crt-static -C linker=$(linker "$1") --remap-path-prefix=$repo=/src --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$2=/target"
    export "CC_$variable=$(linker "$1")"
    export "CFLAGS_$variable=-ffile-prefix-map=$repo=/src -ffile-prefix-map=${CARGO_HOME:-$HOME/.cargo}=/cargo -ffile-prefix-map=$2=/target"
    # The harness of a release names no folder of this machine.
    ETCD_HARNESS_RELEASE=1 "${CARGO:-cargo}" build "${flags[@]}" --target "$target" >&2
}

# pack OUT TARGET_FOLDER: images and archives of what was compiled there.
pack() {
    local out=$1 folder=$2 name architecture program
    local -a programs
    mkdir -p "$out/images"
    for name in "${names[@]}"; do
        programs=()
        for architecture in ${architectures//,/ }; do
            program=$folder/$(triple "$architecture")/release/$name
            is_for "$architecture" "$program"
            programs+=("$architecture=$program")
        done
        if [[ " ${tools[*]} " == *" $name "* ]]; then
            for program in "${programs[@]}"; do tool "$out" "$name" "${program%%=*}" "${program#*=}"; done
        else
            layout "$out/images/$name" "$name" "${programs[@]}"
        fi
    done
}

# tool OUT NAME ARCH PROGRAM: its archive; krew unpacks the plugin's.
tool() {
    mkdir -p "$WORK/$2"
    cp "$4" "$WORK/$2/$2"
    cp "$repo/LICENSE" "$WORK/$2/LICENSE"
    archive "$WORK/$2" LICENSE "$2" | gzip -n -9 >"$1/$2-linux-$3.tar.gz"
}

# sums OUT: a line for each file, and for each image the digest that a registry shows.
sums() {
    local file
    (
        cd "$1"
        for file in *; do
            [ ! -f "$file" ] || [ "$file" = SHA256SUMS ] || printf '%s  %s\n' "$(sha <"$file" | cut -c1-64)" "$file"
        done
        for file in images/*/; do
            [ ! -f "$file/index.json" ] || printf '%s  %s\n' "$(grep -o 'sha256:[0-9a-f]*' "$file/index.json" | cut -c8-)" "${file%/}"
        done
    ) >"$WORK/sums"
    LC_ALL=C sort -k2 "$WORK/sums" >"$1/SHA256SUMS"
}

workdir release
if [ -n "$sums_of" ]; then
    [ -d "$sums_of/images" ] || die "$sums_of is no folder of a release" 2
    sums "$sums_of"
    exit
fi
for architecture in ${architectures//,/ }; do can_link "$architecture"; done
out=$repo/dist/$VERSION
rm -rf "$out"
for architecture in ${architectures//,/ }; do
    beside "compile for $architecture" compile "$architecture" "$repo/target/release-build"
done
pack "$out" "$repo/target/release-build"
if [ -n "$sbom" ]; then "$repo/hack/sbom" "$out"; fi
sums "$out"
if [ -n "$twice" ]; then
    for architecture in ${architectures//,/ }; do
        beside "compile for $architecture again" compile "$architecture" "$WORK/again"
    done
    pack "$WORK/second" "$WORK/again"
    sums "$WORK/second"
    grep -v '\.cdx\.json$' "$out/SHA256SUMS" >"$WORK/first"
    diff "$WORK/first" "$WORK/second/SHA256SUMS" >&2 || die "two builds differ: see above"
    say "two builds in two folders are the same, byte by byte"
fi
say "$out"
cat "$out/SHA256SUMS"
