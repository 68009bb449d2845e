#!/usr/bin/env bash
# The real helm, unmodified, with a chart that has a job before it and a test after it: helm 4, which applies at the server, and helm
# 3, which merges for itself. What a new version of a chart no longer has must go, and what others changed must not be lost silently.
story=helm
. "$(dirname "$0")/../e2e/lib.sh"
plan 41

chart=test/client/chart
helm4=$(ci/fetch-client helm) && helm3=$(ci/fetch-client helm 29) || { echo "Bail out! no helm"; exit 1; }
start_cluster 1
KUBECONFIG=$("$minik8s" cluster kubeconfig)
export KUBECONFIG HOME=$work
h() { timeout 120 "$helm" "$@" 2>&1; }
says() { matches "$1" "$2" "$(h "${@:3}")"; } # NAME PATTERN ARGUMENTS…
settings() { k get configmap "$1" -o 'jsonpath={.data}'; }
answers() { on node-1 curl -s -m 2 "http://$(field service "$1" '{.spec.clusterIP}')/"; }

everyday() { # RELEASE
    says "$1: install, with its hook, until it is ready" 'STATUS: deployed' install "$1" $chart --wait --timeout 90s
    is "the job ran before it" 1 "$(field job "$1-first" '{.status.succeeded}')"
    is "an object of the chart's own kind is there" "hello from $1" "$(field greeting "$1" '{.spec.text}')"
    is "it is ready" 2 "$(field deployment "$1" '{.status.readyReplicas}')"
    matches "and answers" "$1-" "$(answers "$1")"
    says "test" 'Phase: +Succeeded' test "$1" --timeout 60s
    says "list" "^$1[[:space:]]+default[[:space:]]+1[[:space:]].*deployed" list
    says "upgrade" 'STATUS: deployed' upgrade "$1" $chart --wait --timeout 90s --set replicas=3 --set settings.size=null --set workingDir=/tmp --set labels.tier=front
    is "what the new version no longer has is gone" '{"colour":"blue"}' "$(settings "$1")"
    is "what it has is there" "3 /tmp front" "$(field deployment "$1" '{.status.readyReplicas} {.spec.template.spec.containers[0].workingDir}') $(field configmap "$1" '{.metadata.labels.tier}')"
    says "rollback" 'Rollback was a success' rollback "$1" 1 --wait --timeout 90s
    is "it is as it was" '{"colour":"blue","size":"big"}2' "$(settings "$1")$(field deployment "$1" '{.spec.replicas}')"
    is "also where something came" "" "$(field deployment "$1" '{.spec.template.spec.containers[0].workingDir}')$(field configmap "$1" '{.metadata.labels.tier}')"
    is "history" "superseded superseded deployed" "$(h history "$1" -o json | jq -r '.[].status' | xargs)"
    says "status" 'STATUS: deployed' status "$1"
    says "uninstall" "release \"$1\" uninstalled" uninstall "$1" --wait
    is "nothing is left" "" "$(k get deployments,services,configmaps,secrets,replicasets,greetings -l release="$1" -o name)$(k get secrets -l owner=helm,name="$1" -o name)"
}

helm=$helm4
says "helm 4" '^v4\.' version --short
h install drift $chart --wait --timeout 90s >"$work/drift" || note "$(cat "$work/drift")"
k scale deployment drift --replicas=1 >"$work/out"
says "helm 4: what another changed since is a conflict" 'conflict with "minikubectl" with subresource "scale" using apps/v1.*\.spec\.replicas' upgrade drift $chart --set replicas=2
is "nothing was changed" 1 "$(field deployment drift '{.spec.replicas}')"
says "helm 4: by force" 'STATUS: deployed' upgrade drift $chart --set replicas=2 --force-conflicts
is "it was changed" 2 "$(field deployment drift '{.spec.replicas}')"
says "a chart with a wrong value: the field is named" 'spec\.replicas' upgrade drift $chart --set replicas=-1
everyday four
helm=$helm3
says "helm 3" '^v3\.' version --short
everyday three
