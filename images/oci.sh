# Images as OCI layouts, byte by byte the same for the same programs: no time but the given one, a fixed order and owner,
# layers without compression, whose bytes would depend on the compressor. Needs no Docker. Sourced after lib.sh.
# shellcheck shell=bash

# archive FOLDER FILE...: a tar of these files, in this order, without the traces of who made it and when.
archive() {
    local folder=$1
    shift
    tar -C "$folder" --format=ustar --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
        --mode=u=rwX,go=rX -cf - "$@"
}

json() { printf '"%s"' "$(sed 's/[\\"]/\\&/g' <<<"$1")"; }

# pairs NAME VALUE...: a JSON object; what has no value is left out.
pairs() {
    local comma=
    printf '{'
    while [ $# -gt 0 ]; do
        [ -z "$2" ] || { printf '%s%s:%s' "$comma" "$(json "$1")" "$(json "$2")"; comma=,; }
        shift 2
    done
    printf '}'
}

# blob LAYOUT FILE: moves the file in; DIGEST and SIZE say what it is.
blob() {
    DIGEST=$(sha <"$2" | cut -c1-64)
    SIZE=$(wc -c <"$2" | tr -d ' ')
    mkdir -p "$1/blobs/sha256"
    mv "$2" "$1/blobs/sha256/$DIGEST"
    DIGEST=sha256:$DIGEST
}

# about NAME: the annotations of an image. VERSION, REVISION and SOURCE may be empty; CREATED is the source's time.
about() {
    local title=$1 text=
    case $title in
        operator) text="Runs etcd clusters on Kubernetes" ;;
        kbagent) text="Runs beside etcd in every pod: watches its member, starts etcd, transfers leadership" ;;
        metrics-exporter) text="Figures of an etcd member for Prometheus" ;;
        etcd-backup) text="Saves, proves and restores backups of etcd" ;;
        workload) text="The recording client of the test harness" ;;
    esac
    local key=org.opencontainers.image
    pairs "$key.title" "$title" "$key.description" "$text" "$key.version" "$VERSION" "$key.revision" "$REVISION" \
        "$key.source" "$SOURCE" "$key.licenses" Apache-2.0 "$key.created" "$CREATED"
}

# image LAYOUT NAME ARCHITECTURE PROGRAM: adds an image with one program, run by an ordinary user; adds its entry to
# MANIFESTS.
image() {
    local layout=$1 name=$2 architecture=$3 root=$WORK/root layer config labels
    labels=$(about "$name")
    rm -rf "$root"
    mkdir -p "$root"
    cp "$4" "$root/$name"
    chmod 755 "$root/$name"
    archive "$root" "$name" >"$WORK/layer"
    blob "$layout" "$WORK/layer"
    layer="{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"$DIGEST\",\"size\":$SIZE}"
    printf '{"created":%s,"architecture":"%s","os":"linux","config":{"User":"65532:65532","Entrypoint":["/%s"],"Labels":%s},"rootfs":{"type":"layers","diff_ids":["%s"]},"history":[{"created":%s,"created_by":"images/release.sh"}]}' \
        "$(json "$CREATED")" "$architecture" "$name" "$labels" "$DIGEST" "$(json "$CREATED")" >"$WORK/config"
    blob "$layout" "$WORK/config"
    config="{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"$DIGEST\",\"size\":$SIZE}"
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s],"annotations":%s}' \
        "$config" "$layer" "$labels" >"$WORK/manifest"
    blob "$layout" "$WORK/manifest"
    MANIFESTS+=("{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"$DIGEST\",\"size\":$SIZE,\"platform\":{\"architecture\":\"$architecture\",\"os\":\"linux\"}}")
}

# layout FOLDER NAME ARCHITECTURE=PROGRAM...: an OCI layout that holds one index, of an image for each architecture.
layout() {
    local folder=$1 name=$2 pair
    shift 2
    MANIFESTS=()
    rm -rf "$folder"
    mkdir -p "$folder"
    for pair in "$@"; do image "$folder" "$name" "${pair%%=*}" "${pair#*=}"; done
    (
        IFS=,
        printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s],"annotations":%s}' \
            "${MANIFESTS[*]}" "$(IFS=' '; about "$name")" >"$WORK/index"
    )
    blob "$folder" "$WORK/index"
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"%s","size":%s,"annotations":{"org.opencontainers.image.ref.name":%s}}]}' \
        "$DIGEST" "$SIZE" "$(json "$VERSION")" >"$folder/index.json"
    printf '{"imageLayoutVersion":"1.0.0"}' >"$folder/oci-layout"
    say "$name:$VERSION $DIGEST"
}
