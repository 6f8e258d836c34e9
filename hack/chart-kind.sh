# What `hack/chart kind` does on the harness's kind cluster: takes over, upgrades, removes. Sourced by it, never run.
# shellcheck shell=bash

CONTEXT=kind-${ETCD_HARNESS_CLUSTER:-etcd-harness}
TRIED=etcd-chart-try

kube() { "$KUBECTL" --context "$CONTEXT" "$@"; }

# members: each pod of the tried Cluster with its UID and its containers' restarts.
members() {
    kube -n "$TRIED" get pods --sort-by=.metadata.name -o \
        jsonpath='{range .items[*]}{.metadata.name} {.metadata.uid} {.status.containerStatuses[*].restartCount}{"\n"}{end}'
}

# again COMMAND...: repeats it until it succeeds, for a minute: the API server of a busy machine does not always answer.
again() {
    local end=$((SECONDS + 60))
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 1
    done
}

look() { members >"$WORK/now" 2>"$WORK/look"; }

# untouched WHAT: no member was recreated or restarted by WHAT.
untouched() {
    again look || die "$1: failed to list the members: $(tail -1 "$WORK/look")"
    diff -u --label before --label after "$WORK/members" "$WORK/now" >&2 || die "$1: a member was recreated or restarted"
    say "  $1: no member restarted"
}

put() {
    kube -n "$TRIED" exec three-etcd-0 -c etcd -- \
        etcdctl --endpoints http://three-etcd:2379 put chart "$1" >"$WORK/put" 2>&1
}

# answers WHAT: after WHAT the leader service takes a write.
answers() { again put "$1" || die "$1: a write through the leader service failed: $(tail -1 "$WORK/put")"; }

# ask VERB RESOURCE NAMESPACE: true when there is an answer, in MAY. kubectl fails with a no, too.
ask() {
    MAY=$(kube auth can-i "$1" "$2" -n "$3" --as=system:serviceaccount:kb-system:etcd-operator 2>"$WORK/may") || :
    MAY=${MAY%% *}
    [[ $MAY == yes || $MAY == no ]]
}

# may VERB RESOURCE NAMESPACE: whether the operator's account may, in MAY. That no answer came is not a no.
may() { again ask "$@" || die "failed to ask whether the operator may $1 $2 in $3: $(tail -1 "$WORK/may")"; }

# Serving one namespace by name, the operator has no rights in others, and replaces a pod in its own.
narrow() {
    local verb resource before
    while read -r verb resource; do
        may "$verb" "$resource" "$TRIED"
        [ "$MAY" = yes ] || die "namespaces: it may not $verb $resource in its namespace"
        for other in kube-system default; do
            may "$verb" "$resource" "$other"
            [ "$MAY" = no ] || die "namespaces: it may $verb $resource in $other"
        done
    done <<<"get secrets
create pods
patch services
patch serviceaccounts
delete persistentvolumeclaims"
    before=$(kube -n "$TRIED" get pod three-etcd-2 -o jsonpath='{.metadata.uid}')
    kube -n "$TRIED" delete pod three-etcd-2 --wait=false >&2
    replaced() {
        local now
        now=$(kube -n "$TRIED" get pod three-etcd-2 -o jsonpath='{.metadata.uid} {.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null)
        [[ $now == *" True" && $now != "$before "* ]]
    }
    for _ in $(seq 120); do replaced && break; sleep 1; done
    replaced || die "namespaces: the operator has not replaced a deleted pod within 120 s"
    say "  helm upgrade with one namespace: no rights elsewhere, a deleted pod was replaced"
    members >"$WORK/members"
}

# As `kubectl apply` had installed it: the next `make up` finds what it knows.
restore() {
    kube apply --server-side --force-conflicts -k deploy >"$WORK/applied" 2>&1 ||
        die "kubectl apply -k deploy failed: $(tail -1 "$WORK/applied")"
    kube -n kb-system rollout status deployment/etcd-operator --timeout=120s >&2
}

try_on_kind() {
    KUBECTL=$(command -v kubectl || echo "$STATE_DIR/bin/kubectl")
    kube -n kb-system get deployment etcd-operator >/dev/null 2>&1 ||
        die "no operator in context $CONTEXT: run make up first" 3
    HELM=$(tool helm "$HELM_VERSION" helm.sh/helm/v3/cmd/helm)
    # `make chart` may come before there is a kubectl, and leaves it out then.
    check_kustomize
    local -a release=(etcd-operator "$CHART" --kube-context "$CONTEXT" --namespace kb-system --wait --timeout 3m)

    kube delete namespace "$TRIED" --ignore-not-found >&2
    trap 'kube delete namespace "$TRIED" --ignore-not-found --wait=false >&2; end_lanes; rm -rf "$WORK"' EXIT
    kube create namespace "$TRIED" >&2
    kube -n "$TRIED" apply -f deploy/samples/three-members.yaml >&2
    kube -n "$TRIED" wait --for=jsonpath='{.status.phase}'=Running cluster/three --timeout=180s >&2
    members >"$WORK/members"

    # Not `install`: a run that was cut off may have left a release.
    quiet_helm upgrade --install "${release[@]}" --take-ownership >/dev/null
    untouched "helm upgrade --install --take-ownership"
    answers install
    quiet_helm upgrade "${release[@]}" --set resources.limits.memory=170Mi --set extraLabels.team=storage >/dev/null
    untouched "helm upgrade with other resources"
    answers upgrade
    quiet_helm upgrade "${release[@]}" --set "namespaces={$TRIED}" --set page.enabled=true >/dev/null
    untouched "helm upgrade with one namespace"
    narrow
    answers namespaces
    "$HELM" uninstall etcd-operator --kube-context "$CONTEXT" --namespace kb-system --wait >&2
    answers uninstall
    restore
    untouched "helm uninstall, kubectl apply -k deploy"
    kube -n "$TRIED" delete cluster three --timeout=120s >&2
    say "  the chart installs, upgrades and goes: the members served throughout"
}
