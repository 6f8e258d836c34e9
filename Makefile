# Common uses:
#   make e2e        cluster, operator, every scenario but the long ones, a verdict (does all of its own set-up)
#   make test       everything that needs no cluster
#   make e2e-smoke  four scenarios in four minutes
#   make up / down  the kind cluster with the operator, to play with; `cargo run -p harness -- --help` for the rest

SHELL := /bin/bash
CARGO ?= hack/cargo
HARNESS := $(CARGO) run --locked -p harness --
# What scenarios need and this machine may be without; a trial that needs anything else that is missing fails. KubeBlocks'
# examples are not in this repository (ETCD_HARNESS_KUBEBLOCKS_EXAMPLES). CONTRIBUTING.md has the names.
E2E_LACKS ?= manifests
# What `harness bug` lists, and the versions that are needed for all of them.
BUGS := 17529 17780 18667 19557 13514 15220 15271 20221 20711 18089 19179 20418 14891 14571 14370 14685 13766 unsafe-no-fsync
BUGS_IN := v3.4.18 v3.5.2 v3.5.5 v3.5.6 v3.5.7 v3.5.9 v3.5.12 v3.5.13 v3.5.17 v3.5.35 v3.6.1 v3.6.16 v3.7.3
SUITE := ETCD_HARNESS_RUNS=$(CURDIR)/runs E2E_REQUIRED=1 E2E_LACKS='$(E2E_LACKS)'

.PHONY: help
help: ## what can be made
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: test
test: ## unit, property, model and drift tests: no cluster, no Docker; elections with each etcd that is built here
	$(CARGO) test --workspace --exclude e2e --locked
	$(CARGO) test --locked -p e2e --lib --test tidy
	hack/etcd-tests --built

.PHONY: test-etcd
test-etcd: ## all tests of agents and backups that need real etcd, which is built; no cluster
	hack/etcd-tests

.PHONY: bare
bare: ## every scenario with etcd members as plain containers; FILTER=locks: those whose names contain it
	images/docker.sh
	images/rust.sh workload
	images/etcd.sh
	! command -v go >/dev/null || { . images/versions.env && images/etcd.sh $$ETCD_DEFAULT_VERSION-gofail; }
	ETCD_HARNESS_BARE=1 $(CARGO) test --locked -p harness --test bare -- --nocapture
	$(HARNESS) bare all $(FILTER:%=--filter %)

.PHONY: bare-smoke
bare-smoke: ## two scenarios with bare members, each three times at most while a run proves nothing; a quarter of an hour at most
	images/docker.sh
	images/rust.sh workload
	images/etcd.sh
	$(CARGO) build --locked -p harness # Its time is not that of the runs.
	end=$$(($$(date +%s) + 900)); \
	for name in bare::leader_killed bare::follower_split; do for _ in 1 2 3; do \
		left=$$((end - $$(date +%s))); [ $$left -gt 0 ] || { echo "no time is left for $$name" >&2; exit 2; }; \
		code=0; $(HARNESS) bare run $$name --within $$left || code=$$?; [ $$code = 2 ] || break; done; \
		[ $$code = 0 ] || exit $$code; done

.PHONY: bugs-smoke
bugs-smoke: ## two known bugs of etcd are found in the versions that the suite has anyway; a quarter of an hour at most
	images/docker.sh
	images/rust.sh workload
	images/etcd.sh
	$(HARNESS) bug 18667 --seeds 1 --clean 0 --within 180
	$(HARNESS) bug 20221 --seeds 1 --clean 0 --within 720

.PHONY: bugs
bugs: ## every known bug of etcd that there is a plan for, and a run of a version without it: one to two hours
	images/docker.sh
	images/rust.sh workload
	images/etcd.sh $(BUGS_IN)
	for bug in $(BUGS); do $(HARNESS) bug $$bug --seeds 1 --clean 1 || exit; done

.PHONY: e2e
e2e: up ## every scenario but the long ones on a real kind cluster; PART=2/6: a sixth of those that are not in the smoke subset
	$(SUITE) E2E_PART=$(PART) $(CARGO) test --locked -p e2e --test e2e -- --nocapture $(FILTER)

.PHONY: e2e-smoke
e2e-smoke: up ## the smoke subset
	$(SUITE) E2E_SMOKE=1 $(CARGO) test --locked -p e2e --test e2e -- --nocapture

.PHONY: e2e-long
e2e-long: override ETCD += 3.5.35 3.7.3
e2e-long: up ## churn, slow faults and more scenarios with five members
	$(SUITE) E2E_LONG=1 $(CARGO) test --locked -p e2e --test e2e -- --nocapture $(FILTER)

.PHONY: e2e-killed
e2e-killed: up ## every fault, its harness killed at a random moment: a quarter of an hour
	$(HARNESS) bench killed

.PHONY: up
up: ## the cluster, the images and the operator; nothing is done twice; ETCD="3.6.12 3.7.3": more versions of etcd
	images/docker.sh
	$(HARNESS) up $(ETCD:%=--etcd %)
	images/kubectl.sh

.PHONY: down
down: ## deletes the cluster
	$(HARNESS) down

.PHONY: doctor
doctor: ## what this machine can do
	$(HARNESS) doctor

.PHONY: lint
lint: ## formatting, clippy, licences and bans of dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	hack/deny

.PHONY: chart
chart: ## checks the Helm chart: lint, rendered objects against deploy/*.yaml; no cluster
	hack/chart

.PHONY: chart-kind
chart-kind: up ## installs, upgrades and removes the chart on the kind cluster, below a Cluster that must not notice
	hack/chart kind

.PHONY: upgrade-kind
upgrade-kind: up ## replaces the operator of FORMER (a commit) by this tree's under load, on the kind cluster
	hack/upgrade-kind $(FORMER)

.PHONY: page
page: ## opens the operator's status page in a headless Chromium, if there is one; no cluster
	hack/page

.PHONY: registry
registry: ## publishes a small release and the chart to a registry on this machine; no cluster, no Docker
	hack/registry

.PHONY: workflows
workflows: ## checks the workflows of .github with actionlint
	hack/workflows

.PHONY: alerts
alerts: ## checks and tests the alerts with promtool (which takes minutes to build, once); no cluster
	hack/alerts

.PHONY: traces
traces: ## traces of a failover in a real OpenTelemetry collector (built once, with Go: minutes); no cluster
	hack/traces

.PHONY: book
book: ## the documents as a website in target/book, links checked
	hack/book

.PHONY: crds
crds: ## regenerates deploy/crds and docs/crd-reference.md from the types
	$(CARGO) run --locked -p operator -- crd --directory deploy/crds --reference docs/crd-reference.md
