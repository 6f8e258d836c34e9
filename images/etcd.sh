#!/usr/bin/env bash
# etcd.sh [VERSION...]: makes etcd-harness/etcd:VERSION available in Docker's store for
# each version (default: those that the end-to-end tests use). Pulled where a registry
# can be reached, else built from etcd's Go modules; the name is the same either way.
# A version like v3.6.16-gofail is that version with its failpoints turned into code:
# always built, since no registry has it. Of 3.4 some releases can be built, see below.
# etcd.sh --binaries VERSION: only builds, and prints the folder of the binaries.
# Never touches a running container, and never pulls a moving tag.
set -euo pipefail
# shellcheck source=images/lib.sh
. "$(dirname "$0")/lib.sh"

# What turns failpoints, which are comments, into code; etcd 3.5 to 3.7 is tested with it.
GOFAIL_VERSION=v0.2.0

# Releases before 3.5 that can be built. All of 3.4 is one Go module, whose path fits none of
# its tags: a release has the time and the hash of its commit for its version there. Each
# of these was built and tried with Go 1.26; the module proxy has more.
OLD_RELEASES="
v3.4.3 v0.0.0-20191023171146-3cf2f69b5738
v3.4.9 v0.0.0-20200520232829-54ba9589114f
v3.4.13 v0.0.0-20200824191128-ae9734ed278b
v3.4.16 v0.0.0-20210512015243-d19fbe541bf9
v3.4.18 v0.0.0-20211015134708-72d3e382e73c"

# The version of the module that is this release; nothing for one that is not listed.
commit_of() { awk -v release="$1" '$1 == release {print $2}' <<<"$OLD_RELEASES"; }

old_releases() { awk 'NF {printf "%s %s", comma, $1; comma = ","}' <<<"$OLD_RELEASES"; }

# Ends the script where there is nothing to build this version from.
buildable() {
    local minor=${1#v3.}
    [ "${minor%%.*}" -lt 5 ] || return 0
    [[ $1 != *-gofail ]] || die "$1: a build with failpoints needs etcd 3.5 at least"
    [ -n "$(commit_of "$1")" ] || die "$1 can only be pulled from a registry; before 3.5 these can be built:$(old_releases)"
}

# A release of 3.4 from its commit $1, with the dependencies that its authors chose, none
# of them raised. It has no etcdutl: etcdctl works on files, too.
build_old() {
    local commit=$1 out=$2
    export GOWORK=off
    rm -rf "$WORK/module" "$WORK/out"
    mkdir -p "$WORK/module" "$WORK/out"
    cd "$WORK/module"
    go mod init build
    go mod edit -require "go.etcd.io/etcd@$commit"
    CGO_ENABLED=0 GOOS=linux GOARCH=$(arch) go build -mod=mod -p 2 -trimpath \
        -ldflags "-s -w -X go.etcd.io/etcd/version.GitSHA=module" \
        -o "$WORK/out/" go.etcd.io/etcd go.etcd.io/etcd/etcdctl
    rm -rf "$out"
    mv "$WORK/out" "$out"
}

# Commands of etcd from their Go modules: $1 version, the others of server, etcdctl,
# etcdutl. In one build: they share most of their packages.
build_commands() {
    local version=$1 name
    shift
    rm -rf "$WORK/module"
    mkdir -p "$WORK/module"
    cd "$WORK/module"
    go mod init build
    for name in "$@"; do go mod edit -require "go.etcd.io/etcd/$name/v3@$version"; done
    local -a modules=("${@/#/go.etcd.io/etcd/}")
    CGO_ENABLED=0 GOOS=linux GOARCH=$(arch) go build -mod=mod -p 2 -trimpath \
        -ldflags "-s -w -X go.etcd.io/etcd/api/v3/version.GitSHA=module" \
        -o "$WORK/out/" "${modules[@]/%//v3}"
}

# The version itself, or where the module proxy cannot vouch for that one (etcdutl
# v3.6.1), the next of the same minor release: only for a tool that works on files.
nearest() {
    local module=go.etcd.io/etcd/$1/v3 version=$2 other
    if (cd / && go mod download "$module@$version") >&2; then echo "$version"; return; fi
    for other in $(cd / && go list -m -versions "$module"); do
        if [ "${other%.*}" = "${version%.*}" ] && [[ $other != *-* ]] && [ "${other##*.}" -gt "${version##*.}" ]; then
            echo "$module $version cannot be verified: $other instead" >&2
            echo "$other"
            return
        fi
    done
    echo "$module has no version from $version on" >&2
    return 1
}

build_binaries() {
    local version=$1 out=$2 utility
    export GOWORK=off
    rm -rf "$WORK/out"
    mkdir -p "$WORK/out"
    utility=$(nearest etcdutl "$version")
    if [ "$utility" = "$version" ]; then
        build_commands "$version" server etcdctl etcdutl
    else
        # Another version of it would bring that of the server with it.
        build_commands "$version" server etcdctl
        build_commands "$utility" etcdutl
    fi
    mv "$WORK/out/server" "$WORK/out/etcd"
    rm -rf "$out"
    mv "$WORK/out" "$out"
}

# Replaces a module of the build in this folder by a copy whose failpoints are code, if
# it has some: $1 module, $2 copy, which must have the name of the module's package.
with_failpoints() {
    local module=$1 copy=$2 source folders
    go mod download "$module"
    source=$(go list -mod=mod -m -f '{{.Dir}}' "$module")
    rm -rf "$copy"
    folders=$(cd "$source" && { grep -rl --include='*.go' --exclude='*_test.go' '// gofail:' . || true; } | sed 's|/[^/]*$||' | sort -u)
    if [ -z "$folders" ]; then echo "$module has no failpoints"; return; fi
    cp -R "$source" "$copy"
    chmod -R u+w "$copy"
    # shellcheck disable=SC2086  # a list of words
    (cd "$copy" && "$WORK/enable" enable $folders)
    go mod edit -replace "$module=$copy"
}

# The server with failpoints, and what else the version without them has ($2): a command
# that starts in a member's container must not serve its failpoints.
build_gofail() {
    local version=$1 plain=$2 out=$3
    export GOWORK=off
    rm -rf "$WORK/module" "$WORK/out"
    mkdir -p "$WORK/module" "$WORK/out"
    install_go_tool "go.etcd.io/gofail@$GOFAIL_VERSION" gofail "$WORK/enable"
    cd "$WORK/module"
    go mod init build
    go mod edit -require "go.etcd.io/etcd/server/v3@$version" -require "go.etcd.io/gofail@$GOFAIL_VERSION"
    with_failpoints go.etcd.io/etcd/server/v3 "$WORK/server"
    [ -d "$WORK/server" ] || die "etcd $version has no failpoints"
    with_failpoints go.etcd.io/bbolt "$WORK/bbolt"
    CGO_ENABLED=0 GOOS=linux GOARCH=$(arch) go build -mod=mod -p 2 -trimpath \
        -ldflags "-s -w -X go.etcd.io/etcd/api/v3/version.GitSHA=gofail" \
        -o "$WORK/out/etcd" go.etcd.io/etcd/server/v3
    cp "$plain/etcdctl" "$plain/etcdutl" "$WORK/out/"
    rm -rf "$out"
    mv "$WORK/out" "$out"
}

binaries() {
    local version=$1 dir plain commit
    local -a build=(build_binaries "$version")
    buildable "$version"
    if [[ $version == *-gofail ]]; then
        need go "etcd with failpoints is in no registry, and can only be built"
        plain=$(binaries "${version%-gofail}")
        dir="$STATE_DIR/cache/etcd-$version-$(arch)-$(key "$GOFAIL_VERSION $(declare -f build_gofail with_failpoints)" "$(basename "$plain")")"
        [ -d "$dir" ] || stage "build etcd $version" build_gofail "${version%-gofail}" "$plain" "$dir"
        echo "$dir"
        return
    fi
    commit=$(commit_of "$version")
    if [ -n "$commit" ]; then
        build=(build_old "$commit")
        dir="$STATE_DIR/cache/etcd-$version-$(arch)-$(key "$commit $(declare -f build_old)")"
    else
        dir="$STATE_DIR/cache/etcd-$version-$(arch)-$(key "$(declare -f build_binaries build_commands nearest)")"
    fi
    if [ ! -d "$dir" ]; then
        need go "etcd $version can be neither pulled nor, without Go, built"
        stage "build etcd $version" "${build[@]}" "$dir"
    fi
    echo "$dir"
}

import_image() {
    local version=$1 dir=$2 root="$WORK/root"
    rm -rf "$root"
    mkdir -p "$root/usr/local/bin" "$root/tmp" "$root/var/lib/etcd"
    chmod 1777 "$root/tmp"
    cp "$dir"/* "$root/usr/local/bin/"
    tar -C "$root" -cf - . | docker import --platform "linux/$(arch)" \
        --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' --change 'CMD ["/usr/local/bin/etcd"]' \
        --change 'EXPOSE 2379 2380' \
        --change "LABEL etcd-harness.built=modules" - "etcd-harness/etcd:$version"
}

valid() {
    [[ $1 =~ ^v3\.[0-9]+\.[0-9]+(-gofail)?$ ]] ||
        die "$1: not an etcd version like $ETCD_DEFAULT_VERSION, or $ETCD_DEFAULT_VERSION-gofail for one with failpoints"
}

lock etcd
workdir etcd
if [ "${1:-}" = --binaries ]; then
    valid "${2:?etcd.sh --binaries VERSION}"
    binaries "$2"
    exit
fi
# shellcheck disable=SC2086  # a list of words
[ $# -gt 0 ] || set -- $ETCD_E2E_VERSIONS
for version in "$@"; do
    valid "$version"
    image=etcd-harness/etcd:$version
    if have_image "$image"; then
        say "$image is there"
    elif [[ $version != *-gofail ]] && [ -z "${no_registry:-}" ] && try_pull "$ETCD_IMAGE_SOURCE:$version" 120; then
        docker tag "$ETCD_IMAGE_SOURCE:$version" "$image"
        say "$image pulled"
    else
        # What fails once is not asked again for the next version.
        [[ $version == *-gofail ]] || no_registry=1
        dir=$(binaries "$version")
        stage "image $image" import_image "$version" "$dir"
    fi
done
