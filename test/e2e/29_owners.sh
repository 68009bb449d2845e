#!/usr/bin/env bash
# Who owns what, and how it is replaced: adoption, orphans, deletion in three ways, Recreate, minReadySeconds, pause, undo to a
# revision, CronJobs whose last Job still runs, Jobs that give up: manifests/workloads, judged by what podman runs.
#uses: awk sort comm
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/inspect.sh"
plan 45

trap 'rm -rf /tmp/m8-recreate; finish' EXIT
rm -rf /tmp/m8-recreate
start_cluster 2
on_both() { podman_of node-1 "$@"; podman_of node-2 "$@"; }
ids() { on_both ps --no-trunc --format '{{.ID}} {{.Names}}' | awk -v name="m8_$1_" 'index($2, name) == 1 {print $1}' | sort; } # CONTAINER
count() { ids "$1" | grep -c .; }
count_is() { [ "$(count "$1")" = "$2" ]; }
owner() { field pod "$1" '{.metadata.ownerReferences[0].kind}/{.metadata.ownerReferences[0].name}'; }
owner_is() { [ "$(owner "$1")" = "$2" ]; }
is_gone() { refuses k get "$1" "$2"; }
values() { # CONTAINER: V in each of its processes' environment
    local node id
    for node in node-1 node-2; do
        for id in $(podman_of $node ps -q --filter "label=io.minik8s.container=$1"); do
            tr '\0' '\n' <"/proc/$(podman_of $node inspect --format '{{.State.Pid}}' "$id")/environ" | sed -n s/^V=//p
        done
    done | sort | xargs
}
values_are() { [ "$(values "$1")" = "$2" ]; }

# ---- adoption, and letting go
sed '/^---$/,$d' manifests/workloads/owners.yaml | k apply -f - >/dev/null
ok "a pod of its own" until_true 20 count_is keeper 1
stray=$(ids keeper)
k apply -f manifests/workloads/owners.yaml >/dev/null
ok "a ReplicaSet that wants two makes one more" until_true 20 count_is keeper 2
is "the pod is adopted" ReplicaSet/keeper "$(owner stray)"
ok "its container goes on" grep -q "$stray" <<<"$(ids keeper)"
k label pod stray app- >/dev/null
ok "without the label it is let go" until_true 5 owner_is stray /
is "and has no ownerReferences, rather than an empty list" "" "$(field pod stray '{.metadata.ownerReferences}')"
ok "and replaced: three run" until_true 20 count_is keeper 3
ok "its container goes on still" grep -q "$stray" <<<"$(ids keeper)"
k label pod stray app=keeper >/dev/null
ok "with it again there is one too many, which goes" until_true 20 count_is keeper 2
k delete pod stray --ignore-not-found --now --wait=false >/dev/null
two_owned() { [ "$(k get pods -l app=keeper -o 'jsonpath={.items[*].metadata.ownerReferences[0].name}')" = "keeper keeper" ] && count_is keeper 2; }
until_true 20 two_owned

# ---- three ways of deletion
before=$(ids keeper)
ok "delete --cascade=orphan" k delete replicaset keeper --cascade=orphan
is "the containers go on" "$before" "$(sleep 1; ids keeper)"
is "and belong to nobody" "" "$(k get pods -l app=keeper -o 'jsonpath={.items[*].metadata.ownerReferences[0].name}')"
sed '1,/^---$/d' manifests/workloads/owners.yaml | k apply -f - >/dev/null
ok "the next ReplicaSet adopts both" until_true 10 two_owned
is "and starts none" "$before" "$(ids keeper)"
k delete replicaset keeper --cascade=foreground --wait=false >/dev/null
is "foreground: it is there while its pods are" "foregroundDeletion 2" "$(field replicaset keeper '{.metadata.finalizers[*]}') $(count keeper)"
ok "then it goes" until_true 20 is_gone replicaset keeper
is "after its containers" 0 "$(count keeper)"
sed '1,/^---$/d' manifests/workloads/owners.yaml | k apply -f - >/dev/null
until_true 20 count_is keeper 2
k delete replicaset keeper >/dev/null
is "background: it goes first" "gone 2" "$(is_gone replicaset keeper && echo gone) $(count keeper)"
ok "then its containers" until_true 20 count_is keeper 0

# ---- how pods of a Deployment are replaced
k apply -f manifests/workloads/recreate.yaml >/dev/null
ok "two Deployments" k rollout status deployment single --timeout=60s
k set env deployment/single V=2 >/dev/null
k rollout status deployment single --timeout=60s >/dev/null
is "Recreate: the last old one has ended before the first new one begins" "start 1,start 1,stop 1,stop 1,start 2,start 2," \
    "$(until_true 10 values_are single '2 2' >/dev/null; tr '\n' ',' </tmp/m8-recreate/log)"
k set env deployment/single V=3 >/dev/null
k rollout status deployment single --timeout=60s >/dev/null
matches "the history has three revisions" '^3 ' "$(k rollout history deployment/single)"
k rollout undo deployment/single --to-revision=1 >/dev/null
ok "undo --to-revision=1: the processes have the first value" until_true 20 values_are single "1 1"
is "which is revision 4 now" "2 3 4" "$(k rollout history deployment/single | awk '/^[0-9]/ {print $1}' | xargs)"
k set env deployment/single V=4 >/dev/null
k rollout status deployment single --timeout=60s >/dev/null
kept() { [ "$(k get replicasets -l app=single --no-headers | wc -l)" = 3 ]; }
ok "revisionHistoryLimit: two old ones are kept" until_true 10 kept
matches "to one that is not kept there is no way" 'unable to find specified revision 1' "$(k rollout undo deployment/single --to-revision=1 2>&1)"
k rollout pause deployment/single >/dev/null
before=$(ids single)
k set env deployment/single V=5 W=1 >/dev/null
k set env deployment/single V=6 W=2 >/dev/null
is "paused: changes change no container" "$before" "$(sleep 2; ids single)"
k rollout resume deployment/single >/dev/null
ok "resumed: all of them in one step" until_true 20 values_are single "6 6"
ok "V=5 never ran" refuses grep -q 'start 5' /tmp/m8-recreate/log
until_true 20 count_is single 2
before=$(ids single)
k rollout restart deployment/single >/dev/null
others() { count_is single 2 && [ -z "$(comm -12 <(echo "$before") <(ids single))" ]; }
ok "rollout restart: other containers" until_true 20 others
k delete deployment single --wait=false >/dev/null
k rollout status deployment patient --timeout=60s >/dev/null
k set env deployment/patient V=2 >/dev/null
k rollout status deployment patient --timeout=60s >/dev/null
begun() { # when its containers were started, in ms
    local node id
    for node in node-1 node-2; do
        for id in $(podman_of $node ps -q --filter "label=io.minik8s.container=$1"); do
            podman_of $node inspect --format '{{.State.StartedAt.UnixMilli}}' "$id"
        done
    done | sort -n
}
is "minReadySeconds: the update is done" "2 2" "$(values patient)"
apart=$(begun patient | awk 'NR == 1 {a = $1} NR == 2 {print $1 - a}')
# Conditions have whole seconds: 3 s from the one in which it became ready.
ok "the second began when the first had been ready for 3 s ($apart ms)" test "${apart:-0}" -ge 2000
k delete deployment patient --wait=false >/dev/null

# ---- CronJobs whose last Job still runs
k apply -f manifests/workloads/cron-policies.yaml >/dev/null
until_true 20 count_is piles 2 # by now each of them has had its time
end=$(($(now) + 15000))
for ((i = 0; $(now) < end; i++)); do
    for node in node-1 node-2; do podman_of $node ps --no-trunc --format "$i {{.Names}} {{.ID}}" & done
    wait
done | sed -nE 's/^([0-9]+) m8_(waits|replaces|piles)_\S+ /\1 \2 /p' >"$work/samples"
most() { awk -v name="$1" '$2 == name && ++n[$1] > most {most = n[$1]} END {print most + 0}' "$work/samples"; }
different() { awk -v name="$1" '$2 == name && !seen[$3]++ {n++} END {print n + 0}' "$work/samples"; }
is "Forbid: never two at a time" 1 "$(most waits)"
ok "but one after the other: $(different waits)" test "$(different waits)" -ge 2
# The next one may begin while the last one is being killed, never beside two.
ok "Replace: $(most replaces) at a time" test "$(most replaces)" -le 2
ok "each is ended by the next: $(different replaces)" test "$(different replaces)" -ge 3
ok "Allow: $(most piles) at a time" test "$(most piles)" -ge 2
few() { [ "$(k get jobs --no-headers | grep -c '^piles-.*Complete')" = 1 ]; }
k patch cronjob piles -p '{"spec":{"suspend":true}}' >/dev/null
ok "successfulJobsHistoryLimit: 1" until_true 20 few
ok "suspended, no more are made" until_true 20 count_is piles 0
k delete cronjob waits replaces piles >/dev/null
ok "their Jobs and pods go with them" until_true 20 sh -c "[ -z \"\$($kubectl get jobs,pods -o name)\" ]"

# ---- Jobs that give up, and that have enough
job() { # NAME SPEC COMMAND
    k apply -f - >/dev/null <<<"{apiVersion: batch/v1, kind: Job, metadata: {name: $1}, spec: {$2, template: {spec: {restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{name: $1, image: 'localhost/m8-busybox:1', command: [sh, -c, '$3']}]}}}}"
}
job stubborn 'backoffLimit: 2' 'exit 1'
failed() { [ "$(field job "$1" '{.status.conditions[?(@.type=="Failed")].reason}')" = "$2" ]; }
ok "backoffLimit: 2" until_true 30 failed stubborn BackoffLimitExceeded
is "three pods have tried" 3 "$(k get pods -l job-name=stubborn --no-headers | wc -l)"
job leader 'completionMode: Indexed, completions: 3, parallelism: 3, successPolicy: {rules: [{succeededIndexes: "0"}]}' 'test $JOB_COMPLETION_INDEX = 0 || sleep 1000'
ok "successPolicy: number 0 is enough" k wait --for=condition=Complete job/leader --timeout=60s
ok "the others are ended" until_true 10 count_is leader 0
job wide 'completions: 4, parallelism: 2' 'sleep 2'
peak=0 since=$(now)
until [ "$(field job wide '{.status.succeeded}')" = 4 ] || [ "$(now)" -gt $((since + 120000)) ]; do
    n=$(count wide)
    [ "$n" -le "$peak" ] || peak=$n
done
is "parallelism: two at a time" 2 "$peak"
