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

# must WHAT COMMAND...: repeats it like `again`, and says what could not be done. What it prints is talk.
must() {
    local what=$1
    shift
    again "$@" >&2 || die "failed to $what, tried for a minute or longer; the last answer is above"
}

look() { members >"$WORK/now" 2>"$WORK/look"; }

# remember: the members as they are now, which nothing may restart from here on.
remember() {
    again look || die "failed to list the members: $(tail -1 "$WORK/look")"
    cp "$WORK/now" "$WORK/members"
}

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
    third() { kube -n "$TRIED" get pod three-etcd-2 -o jsonpath='{.metadata.uid}' >"$WORK/third"; }
    must "read pod three-etcd-2" third
    before=$(cat "$WORK/third")
    must "delete pod three-etcd-2" kube -n "$TRIED" delete pod three-etcd-2 --wait=false --ignore-not-found
    replaced() {
        local now
        now=$(kube -n "$TRIED" get pod three-etcd-2 -o jsonpath='{.metadata.uid} {.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null)
        [[ $now == *" True" && $now != "$before "* ]]
    }
    for _ in $(seq 120); do replaced && break; sleep 1; done
    replaced || die "namespaces: the operator has not replaced a deleted pod within 120 s"
    say "  helm upgrade with one namespace: no rights elsewhere, a deleted pod was replaced"
    remember
}

# As `kubectl apply` had installed it: the next `make up` finds what it knows.
restore() {
    apply_deploy() { kube apply --server-side --force-conflicts -k deploy >"$WORK/applied" 2>&1; }
    again apply_deploy || die "kubectl apply -k deploy failed: $(tail -1 "$WORK/applied")"
    must "see the operator available" kube -n kb-system rollout status deployment/etcd-operator --timeout=120s
}

# A namespace whose creation had no answer may be there.
make_namespace() { kube get namespace "$TRIED" >/dev/null 2>&1 || kube create namespace "$TRIED"; }

# The Cluster that must not notice.
set_up() {
    must "delete namespace $TRIED" kube delete namespace "$TRIED" --ignore-not-found
    must "create namespace $TRIED" make_namespace
    must "apply a Cluster" kube -n "$TRIED" apply -f deploy/samples/three-members.yaml
    must "see the Cluster Running" \
        kube -n "$TRIED" wait --for=jsonpath='{.status.phase}'=Running cluster/three --timeout=180s
    remember
}

find_operator() { kube -n kb-system get deployment etcd-operator --ignore-not-found -o name >"$WORK/operator" 2>&1; }

try_on_kind() {
    KUBECTL=$(command -v kubectl || echo "$STATE_DIR/bin/kubectl")
    again find_operator || die "no API server answers in context $CONTEXT: $(tail -1 "$WORK/operator"): run make up first" 3
    [ -s "$WORK/operator" ] || die "no operator in context $CONTEXT: run make up first" 3
    HELM=$(tool helm "$HELM_VERSION" helm.sh/helm/v3/cmd/helm)
    # `make chart` may come before there is a kubectl, and leaves it out then.
    check_kustomize
    local -a release=(etcd-operator "$CHART" --kube-context "$CONTEXT" --namespace kb-system --wait --timeout 3m)

    trap 'kube delete namespace "$TRIED" --ignore-not-found --wait=false >&2; end_lanes; rm -rf "$WORK"' EXIT
    set_up

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
    must "delete the Cluster" kube -n "$TRIED" delete cluster three --ignore-not-found --timeout=120s
    say "  the chart installs, upgrades and goes: the members served throughout"
}
