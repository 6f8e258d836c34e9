#!/usr/bin/env bash
# probes.sh KIND...: makes etcd-harness/probe-KIND:dev available in Docker's store for each
# kind of client of `harness bench failover --client`: go, etcdctl, python, kube-apiserver,
# jetcd. Also tagged by content: what did not change keeps its image ID. Built from Go
# modules, Debian's packages and Maven's; a kind that cannot be built here is refused with
# the reason.
set -euo pipefail
# shellcheck source=images/lib.sh
. "$(dirname "$0")/lib.sh"
[ $# -ge 1 ] || die "usage: probes.sh KIND..." 2
JAVA=17

# cached NAME KEY FUNCTION: sets $dir to the folder of something built once. The function
# writes to the folder that it is given.
cached() {
    dir="$STATE_DIR/cache/$1-$(arch)-$(key "$2" "$(declare -f "$3" debian)")"
    [ ! -d "$dir" ] || return 0
    mkdir -p "$WORK/$1"
    stage "build $1" "$3" "$WORK/$1"
    mv "$WORK/$1" "$dir"
}

# The Go program, which is also what runs etcdctl and speaks to an API server.
build_probe() {
    cp -r "$IMAGES_DIR/probes/go" "$WORK/module"
    cd "$WORK/module"
    GOWORK=off CGO_ENABLED=0 GOOS=linux GOARCH=$(arch) go build -mod=readonly -p 2 -trimpath \
        -ldflags '-s -w' -o "$1/probe" .
}
probe() {
    need go "the clients go, etcdctl and kube-apiserver are built from Go modules (https://go.dev/dl)"
    cached probe "$IMAGES_DIR/probes/go" build_probe
}

# debian FOLDER PACKAGE...: a file system with these packages, unpacked and not set up.
# The mirror is whichever this machine's apt uses.
# shellcheck disable=SC2016  # placeholders of apt
debian() {
    local out=$1 mirror
    shift
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Component: main' | grep -v security | head -n1)
    [ -n "$mirror" ] || { echo "apt knows no Debian mirror: run 'apt-get update' on a Debian machine"; return 1; }
    mmdebstrap --variant=extract --include="$(IFS=,; echo "$*")" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$NODE_DEBIAN_SUITE" "$out/root.tar" "$mirror"
}
need_debian() {
    need apt-get "the client $1 comes from Debian's packages"
    need mmdebstrap "the client $1 comes from Debian's packages: install mmdebstrap"
}

build_python() { debian "$1" python3-etcd3; }
build_jre() { debian "$1" "openjdk-$JAVA-jre-headless"; }
build_jetcd() {
    cp "$IMAGES_DIR"/probes/jetcd/* "$WORK/"
    mvn -q -B -f "$WORK/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$1/lib-probe"
    javac --release "$JAVA" -cp "$1/lib-probe/*" -d "$1/lib-probe" "$WORK/Probe.java"
}

# import KIND ROOT ENTRYPOINT FILE...: an image of the archive or folder ROOT and these files
# below /, run by an ordinary user.
import() {
    local kind=$1 root=$2 entry=$3 image=etcd-harness/probe-$1 hash files=$WORK/files
    shift 3
    hash=$(key "$0" "$kind" "$root" "$@")
    if ! have_image "$image:$hash"; then
        rm -rf "$files"
        mkdir -p "$files"
        cp -r "$@" "$files/"
        chmod -R u=rwX,go=rX "$files"
        [ ! -f "$root" ] || cp "$root" "$WORK/image.tar"
        (cd "$files" && tar --owner=0 --group=0 -rf "$WORK/image.tar" -- *)
        docker import --platform "linux/$(arch)" --change 'USER 65532:65532' \
            --change 'ENV PATH=/:/usr/bin:/bin' --change "ENTRYPOINT $entry" "$WORK/image.tar" "$image:$hash" >/dev/null
        rm "$WORK/image.tar"
    fi
    docker tag "$image:$hash" "$image:dev"
    say "$image:dev $hash"
}

lock probes
workdir probes
for kind in "$@"; do
    case $kind in
        go | kube-apiserver)
            probe
            import "$kind" none '["/probe"]' "$dir/probe"
            ;;
        etcdctl)
            probe
            etcd=$("$IMAGES_DIR/etcd.sh" --binaries "$ETCD_DEFAULT_VERSION" | tail -n1)
            import "$kind" none '["/probe"]' "$dir/probe" "$etcd/etcdctl"
            ;;
        python)
            need_debian "$kind"
            cached probe-python "$NODE_DEBIAN_SUITE" build_python
            import "$kind" "$dir/root.tar" '["python3", "/probe.py"]' "$IMAGES_DIR/probes/python/probe.py"
            ;;
        jetcd)
            need_debian "$kind"
            need mvn "jetcd comes from Maven's repository: install Maven"
            need javac "jetcd's client is compiled here: install a JDK of Java $JAVA or later"
            cached probe-jetcd "$IMAGES_DIR/probes/jetcd" build_jetcd
            lib=$dir/lib-probe
            cached probe-jre "$NODE_DEBIAN_SUITE" build_jre
            java=$(tar -tf "$dir/root.tar" | sed -n 's#^\.\(/usr/lib/jvm/.*/bin/java\)$#\1#p' | head -n1)
            import "$kind" "$dir/root.tar" "[\"$java\", \"-XX:-UsePerfData\", \"-cp\", \"/lib-probe/*:/lib-probe\", \"Probe\"]" "$lib"
            ;;
        *) die "$kind: no such client; there are go, etcdctl, python, kube-apiserver and jetcd" 2 ;;
    esac
done
