# What `hack/chart` checks with tools: the chart rendered, and compared with deploy/. Sourced by it, never run.
# shellcheck shell=bash

# Not in images/versions.env, which is a part of the node image's key.
HELM_VERSION=v3.18.6
KUBECONFORM_VERSION=v0.7.0
# The oldest that the chart accepts.
OLDEST_KUBERNETES=1.33.0
CHART=deploy/chart
OTHER_NAMESPACE=etcd-system

# tool NAME VERSION PACKAGE: the path of a tool at this version, from the state folder, where it is built once.
tool() {
    local target="$STATE_DIR/bin/$1-$2"
    if ! [ -x "$target" ]; then
        need go "$1 $2 is built with it"
        stage "build $1 $2" install_go_tool "$3@$2" "$1" "$target"
    fi
    echo "$target"
}

# helm, without what it says of the links in the chart. They are meant: the chart has no copy of deploy/crds.
quiet_helm() {
    local code=0
    "$HELM" "$@" 2>"$WORK/helm.err" || code=$?
    grep -v 'found symbolic link in path' "$WORK/helm.err" >&2 || true
    return $code
}

# render NAMESPACE ARGUMENT...: the chart's objects, CRDs included.
render() {
    local namespace=$1
    shift
    quiet_helm template etcd-operator "${PACKAGE:-$CHART}" --namespace "$namespace" --include-crds \
        --kube-version "$OLDEST_KUBERNETES" "$@"
}

# sorted: the objects of stdin, each once, by kind and name, with sorted keys and without comments, so that two texts can be
# compared. Helm itself reads and writes them, through a chart that has nothing else to do.
sorted() {
    local folder="$WORK/sorted"
    rm -rf "$folder"
    mkdir -p "$folder/templates" "$folder/objects"
    printf 'apiVersion: v2\nname: sorted\nversion: 0.1.0\n' >"$folder/Chart.yaml"
    awk -v folder="$folder/objects" '$0 == "---" { n++; next } { print > (folder "/" n + 0 ".yaml") }'
    cat >"$folder/templates/all.yaml" <<'TEMPLATE'
{{- $all := dict }}
{{- range $path, $text := .Files.Glob "objects/*" }}
{{- with $text | toString | fromYaml }}
{{- if not .kind }}{{ fail (printf "no object: %v" .) }}{{ end }}
{{- $key := printf "%s %s/%s" .kind (.metadata.namespace | default "") .metadata.name }}
{{- if hasKey $all $key }}{{ fail (printf "twice: %s" $key) }}{{ end }}
{{- $_ := set $all $key . }}
{{- end }}
{{- end }}
{{- range $key := keys $all | sortAlpha }}
---
# {{ $key }}
{{ get $all $key | toYaml }}
{{- end }}
TEMPLATE
    "$HELM" template sorted "$folder" | grep -v '^# Source: '
}

# shipped FILE...: these files of deploy/ as one stream.
shipped() {
    local file
    for file in "$@"; do
        printf -- '---\n'
        cat "deploy/$file"
    done
}

crds() { (cd deploy && printf '%s\n' crds/*.yaml); }

# same WHAT WANTED FOUND: the objects of two files.
same() {
    sorted <"$2" >"$WORK/wanted" || die "$1: $2 is not read"
    sorted <"$3" >"$WORK/found" || die "$1: what was rendered is not read"
    diff -u --label deploy --label rendered "$WORK/wanted" "$WORK/found" >&2 ||
        die "$1: an object differs from deploy/: a value's default, or a rule in hack/chart, is not what deploy/ says"
    say "  $1: $(grep -c '^kind: ' "$WORK/found") objects as in deploy/"
}

# As it comes, and with namespace and registry only: object by object.
check_objects() {
    local files mirrored
    mapfile -t files < <(crds; installed)
    shipped "${files[@]}" >"$WORK/shipped"
    render kb-system >"$WORK/default"
    same "default values" "$WORK/shipped" "$WORK/default"
    mirrored="s#kb-system#$OTHER_NAMESPACE#g; s#etcd-harness/#registry.example/etcd-harness/#g"
    sed "$mirrored" "$WORK/shipped" >"$WORK/elsewhere"
    render "$OTHER_NAMESPACE" --set images.registry=registry.example >"$WORK/rendered"
    same "other namespace and registry" "$WORK/elsewhere" "$WORK/rendered"
    # Where events of definitions go, too: `sorted` refuses an object that is there twice.
    render default | sorted >"$WORK/found" || die "namespace default: an object is rendered twice, or cannot be read"
    times 1 '# Role default/etcd-operator-events'
    times 1 '# RoleBinding default/etcd-operator-events'
    shipped $(crds) 20-rbac.yaml 30-operator.yaml >"$WORK/least"
    render kb-system --set admission.install=false --set definitions.install=false >"$WORK/rendered"
    same "without policies and definitions" "$WORK/least" "$WORK/rendered"
    shipped "${files[@]}" >"$WORK/watched"
    # They name no namespace there, for which kubectl is given one.
    shipped monitoring/pod-monitor.yaml monitoring/prometheus-rule.yaml | sed 's/^metadata:$/&\n  namespace: kb-system/' >>"$WORK/watched"
    render kb-system --set monitoring.podMonitors=true --set monitoring.alerts=true >"$WORK/rendered"
    same "with what Prometheus scrapes, and alerts" "$WORK/watched" "$WORK/rendered"
    render kb-system --set monitoring.dashboard=true >"$WORK/rendered"
    diff -u <(sed '1,/^  etcd-clusters.json: /d; s/^    //' "$WORK/rendered" | sed '/^---$/,$d') deploy/monitoring/grafana-dashboard.json >&2 ||
        die "the dashboard of the chart is not that of deploy/monitoring"
    # What a registry would serve: links are followed when the chart is packaged.
    quiet_helm package "$CHART" --destination "$WORK" >/dev/null
    PACKAGE=$(echo "$WORK"/etcd-operator-*.tgz) render kb-system >"$WORK/rendered"
    same "packaged" "$WORK/shipped" "$WORK/rendered"
    # As a release has it: its own images, each with its tag.
    local version package
    version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
    sed -E "s#etcd-harness/([a-z-]+):dev#etcd-harness/\1:$version#g; s#etcd-harness/#registry.example/etcd-harness/#g" \
        "$WORK/shipped" >"$WORK/released"
    package=$(hack/package-chart registry.example "$WORK/release" 2>"$WORK/log") || { cat "$WORK/log" >&2; die "hack/package-chart failed"; }
    PACKAGE=$package render kb-system >"$WORK/rendered"
    same "packaged for a release" "$WORK/released" "$WORK/rendered"
}

# times COUNT TEXT: how often a line must hold TEXT.
times() {
    local found
    found=$(grep -cF -- "$2" "$WORK/found") || true
    [ "$found" = "$1" ] || die "\`$2\` is there $found times, not $1: a template does not use its value"
}

# With every value changed: each has its effect, and nothing of the defaults is left.
check_values() {
    render "$OTHER_NAMESPACE" --values "$CHART/ci/other-values.yaml" | sorted >"$WORK/found"
    local objects kinds images
    kinds=$(grep -c '^kind: ' "$WORK/found")
    objects=$((kinds - $(grep -c '^kind: CustomResourceDefinition' "$WORK/found")))
    # The operator's pods have them too.
    times $((objects + 1)) 'example.com/tier: "1"'
    times $((objects + 1)) 'team: storage'
    images=$(grep -cE 'etcd-harness/[a-z-]+:' "$WORK/shipped")
    times "$images" registry.example/mirror/
    times 1 registry.example/mirror/operator:1.2.3
    times 1 registry.example/mirror/kbagent:1.2.3
    times 1 registry.example/mirror/exporter:1.2.3
    times 0 etcd-harness/
    times 0 kb-system
    times "$(grep -c 'imagePullPolicy:' "$WORK/shipped")" 'imagePullPolicy: Always'
    times 2 'name: registry-example'
    # The account, who has each role, and who is meant by the policies.
    times 1 '# ServiceAccount etcd-system/keeper'
    times 1 'serviceAccountName: keeper'
    times $(($(grep -cE '^# (Cluster)?RoleBinding ' "$WORK/found") + 1)) '  name: keeper'
    times "$(grep -c 'system:serviceaccount:kb-system:etcd-operator' "$WORK/shipped")" 'system:serviceaccount:etcd-system:keeper'
    times 4 'release: watch'
    times 1 'grafana_board: "yes"'
    times 3 '# PodMonitor etcd-system/'
    times 1 '# PrometheusRule etcd-system/'
    times 1 '# ConfigMap etcd-system/etcd-operator-dashboard'
    times 0 'release: prometheus'
    times 1 'replicas: 3'
    times 1 'cpu: 200m'
    times 1 'memory: 320Mi'
    times 1 'priorityClassName: system-cluster-critical'
    times 1 'pool: control'
    times 1 'weight: 7'
    times 1 'key: dedicated'
    times 1 'value: example.internal'
    times 1 'value: debug,'
    times 1 '- --page-address'
    times 1 'value: http://collector.observe:4318'
    times 1 'kind: PodDisruptionBudget'
    times 1 'value: shop,bank'
    # One for each namespace, the one of the lease and two for events; none of rights in all namespaces.
    times 5 '# RoleBinding '
    times 1 '# RoleBinding shop/etcd-operator'
    times 1 '# ClusterRoleBinding '
    times 1 '# ClusterRoleBinding /etcd-operator-cluster'
    render kb-system --set account.create=false --set account.name=given >"$WORK/found"
    ! grep -qx 'kind: ServiceAccount' "$WORK/found" || die "account.create=false: an account is made"
    times 1 'serviceAccountName: given'
    render kb-system --set-string account.name=123 >"$WORK/found"
    times 1 'serviceAccountName: "123"'
    times $(($(grep -cE '^kind: (Cluster)?RoleBinding' "$WORK/found") + 1)) '  name: "123"'
    render kb-system --set replicas=1 >"$WORK/found"
    times 0 'kind: PodDisruptionBudget'
    say "  other values: each has its effect"
}

# The schema refuses what would only be noticed later, or never.
check_schema() {
    local wrong
    for wrong in namespaces={Shop} namespaces={a,a} replicas=0 replica=3 logLevel=verbose images.operator.tag= images.pullPolicy=Sometimes admission.enabled=false account.name=Other account.create=yes monitoring.alert=true monitoring.alerts=yes page.enabled=maybe placement.tolerations=x placement.nodeselector.a=b traces.collector=collector:4318 "traces.collector=http://collector observe:4318"; do
        if render kb-system --set "$wrong" >/dev/null 2>&1; then
            die "values.schema.json lets $wrong pass"
        fi
    done
    say "  schema: wrong values are refused"
}

# kubernetes_schemas FOLDER KINDS: schemas of Kubernetes' own kinds, from the module of the oldest version that the chart accepts.
kubernetes_schemas() {
    local source
    command -v go >/dev/null 2>&1 && command -v jq >/dev/null 2>&1 || return 1
    source=$(cd / && go mod download -json "k8s.io/kubernetes@v$OLDEST_KUBERNETES" 2>"$WORK/log" | jq -r '.Dir // empty') || return 1
    [ -r "$source/api/openapi-spec/swagger.json" ] || return 1
    mkdir -p "$1"
    jq -r --arg kinds "$2" -f hack/kinds.jq "$source/api/openapi-spec/swagger.json" |
        awk -F'\t' -v folder="$1" '{print $2 > (folder "/" $1 ".json")}'
}

# conform FILE: what kubeconform says of the objects of a file, by the schemas in "${where[@]}". CRDs have none, nor have the
# Prometheus operator's kinds.
conform() {
    "$KUBECONFORM" -summary -skip CustomResourceDefinition,PodMonitor,PrometheusRule -kubernetes-version "$OLDEST_KUBERNETES" \
        "${where[@]}" <"$1" >"$WORK/conforms" || { cat "$WORK/conforms" >&2; die "kubeconform refuses what the chart renders"; }
    ! grep -q 'Valid: 0' "$WORK/conforms" || die "kubeconform has found nothing to check"
    say "  kubeconform: $(grep '^Summary' "$WORK/conforms")"
}

# Our own kinds by the schemas of deploy/crds; Kubernetes' own by those of its module, or where they can be downloaded.
check_schemas_of_kinds() {
    local folder="$WORK/schemas" file kind kinds
    local -a where
    mkdir -p "$folder/templates" "$WORK/kinds"
    printf 'apiVersion: v2\nname: schemas\nversion: 0.1.0\n' >"$folder/Chart.yaml"
    printf '%s\n' '{{ (index (.Files.Get "crd.yaml" | fromYaml).spec.versions 0).schema.openAPIV3Schema | toJson }}' \
        >"$folder/templates/schema.yaml"
    for file in deploy/crds/*.yaml; do
        cp "$file" "$folder/crd.yaml"
        kind=$(sed -n 's/^    kind: //p' "$file" | tr '[:upper:]' '[:lower:]')
        "$HELM" template schemas "$folder" | grep '^{' >"$WORK/kinds/$kind.json"
    done
    where=(-schema-location "$WORK/kinds/{{.ResourceKind}}.json")
    render "$OTHER_NAMESPACE" --values "$CHART/ci/other-values.yaml" >"$WORK/rendered"
    kinds=$(cat "$WORK/default" "$WORK/rendered" | sed -n 's/^kind: //p' | sort -u | tr '\n' ' ')
    if kubernetes_schemas "$WORK/kubernetes" "${kinds% }"; then
        where+=(-schema-location "$WORK/kubernetes/{{.ResourceKind}}{{.KindSuffix}}.json")
    elif curl -fsI --max-time 5 https://raw.githubusercontent.com/yannh/kubernetes-json-schema/master/README.md >/dev/null 2>&1; then
        where+=(-schema-location default)
    else
        say "  kubeconform: Kubernetes' own kinds are NOT checked: neither Go and jq nor their schemas are to be had"
        where+=(-ignore-missing-schemas)
    fi
    conform "$WORK/default"
    conform "$WORK/rendered"
}

# Where there is a kubectl: it has kustomize built in, and needs no cluster for this.
check_kustomize() {
    local kubectl
    kubectl=$(command -v kubectl || echo "$STATE_DIR/bin/kubectl")
    if ! [ -x "$kubectl" ]; then
        say "  kustomize: deploy/Kustomization was NOT built: there is no kubectl; make chart-kind builds it"
        return
    fi
    "$kubectl" kustomize deploy >"$WORK/rendered"
    shipped $(crds) "$NOT_IN_CHART" $(installed) >"$WORK/all"
    same "kubectl kustomize deploy" "$WORK/all" "$WORK/rendered"
}

check_all() {
    # No cluster is asked, whatever this machine's own is.
    export KUBECONFIG=/dev/null
    HELM=$(tool helm "$HELM_VERSION" helm.sh/helm/v3/cmd/helm)
    KUBECONFORM=$(tool kubeconform "$KUBECONFORM_VERSION" github.com/yannh/kubeconform/cmd/kubeconform)
    quiet_helm lint "$CHART" --strict --kube-version "$OLDEST_KUBERNETES" >&2
    quiet_helm lint "$CHART" --strict --kube-version "$OLDEST_KUBERNETES" --values "$CHART/ci/other-values.yaml" >&2
    check_objects
    check_values
    check_schema
    check_schemas_of_kinds
    check_kustomize
}
