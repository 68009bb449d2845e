#!/usr/bin/env bash
# DaemonSet, StatefulSet, Job and CronJob on real containers: manifests/workloads is applied and podman is asked what runs.
. "$(dirname "$0")/lib.sh"
plan 48

log=$MINIK8S_DIR/log
start_cluster
count_on() { podman_of "$1" ps --format '{{.Names}}' | grep -c "^m8_$2_"; } # NODE CONTAINER
one_each() { [ "$(count_on node-1 agent) $(count_on node-2 agent) $(count_on node-3 agent)" = "1 1 1" ]; }
names() { k get pods -l "$1" --no-headers | awk '$3 == "Running" { print $1 }' | sort | paste -sd' '; }
names_are() { [ "$(names "$1")" = "$2" ]; }
images_of() { k get pods -l "$1" -o 'jsonpath={.items[*].spec.containers[0].command[2]}'; }
condition() { field "$1" "$2" "{.status.conditions[?(@.type==\"$3\")].status}"; }
field_is() { [ "$(field "$1" "$2" "$3")" = "$4" ]; }
shows() { grep -qE -- "$1" <<<"$("${@:2}")"; } # PATTERN COMMAND…
said() { grep -q "$1" <<<"$(k get events 2>&1)"; }

# --- bad input is refused with the path ---
bad() { sed "$2" "manifests/workloads/$1.yaml" | k create -f - 2>&1; }
matches "a selector that does not match the template" 'spec.template.metadata.labels: .*`selector` does not match' "$(bad daemonset '0,/app: agent/s//app: other/')"
matches "a schedule that is none" 'spec.schedule: Invalid value: "often"' "$(bad cronjob 's/@every 2s/often/')"
matches "a time zone that is none" 'spec.timeZone: .*unknown time zone Mars/Olympus' "$(bad cronjob 's,Europe/Berlin,Mars/Olympus,')"
matches "a Job whose pods never end" 'spec.template.spec.restartPolicy: Unsupported value' "$(bad job 's/restartPolicy: Never/restartPolicy: Always/')"
matches "negative completions" 'spec.completions: Invalid value: -5' "$(bad job 's/completions: 5/completions: -5/')"

# --- DaemonSet ---
ok "one node is cordoned" k cordon node-3
ok "the DaemonSet is applied" k apply -f manifests/workloads/daemonset.yaml
ok "podman runs one on each node, also on the cordoned one" until_true 20 one_each
ok "its rollout is complete" k rollout status daemonset agent --timeout=90s
k uncordon node-3 >/dev/null
agents() { for n in node-1 node-2 node-3; do count_on $n agent; done | awk '{ n += $1 } END { print n }'; }
k patch daemonset agent -p '{"spec":{"updateStrategy":{"rollingUpdate":{"maxSurge":1,"maxUnavailable":0}},"template":{"metadata":{"annotations":{"v":"2"}}}}}' >/dev/null
least=3
new_everywhere() { [ "$(field daemonset agent '{.status.updatedNumberScheduled} {.status.numberAvailable}')" = "3 3" ] && [ "$(k get pods -l app=agent --no-headers | wc -l)" = 3 ]; }
for _ in $(seq 60); do
    n=$(agents)
    [ "$n" -ge "$least" ] || least=$n
    new_everywhere && [ "$(field daemonset agent '{.status.observedGeneration}')" = 2 ] && break
done
is "an update with maxSurge: never fewer than three ran" 3 "$least"
matches "the history has both" '^2 ' "$(k rollout history daemonset agent)"
k rollout undo daemonset agent >/dev/null
ok "undone, it is complete again" k rollout status daemonset agent --timeout=90s
is "with the template of before" "" "$(field daemonset agent '{.spec.template.metadata.annotations.v}')"

# --- StatefulSet ---
ok "the StatefulSet is applied" k apply -f manifests/workloads/statefulset.yaml
ok "three run, by name" until_true 30 names_are app=db "db-0 db-1 db-2"
is "they were made in order" "db-0 db-1 db-2" "$(k get pods -l app=db -o 'jsonpath={range .items[*]}{.status.startTime} {.metadata.name}{"\n"}{end}' | sort | awk '{print $2}' | paste -sd' ')"
ip=$(field pod db-1 '{.status.podIP}')
in_dns() { grep -q "$ip" <<<"$(k exec db-0 -- nslookup db-1.db.default.svc.cluster.local 2>/dev/null)"; }
ok "db-1.db leads to its address" until_true 5 in_dns
uid=$(field pod db-1 '{.metadata.uid}')
k delete pod db-1 --wait=false >/dev/null
renewed() { [ "$(field pod db-1 '{.metadata.uid}')" != "$uid" ] && names_are app=db "db-0 db-1 db-2"; }
ok "a pod that is deleted comes back under its name" until_true 20 renewed
where=$(field pod db-2 '{.spec.nodeName}')
if [ "$where" = node-1 ]; then # the control plane's: another pod's node is cut
    where=$(field pod db-1 '{.spec.nodeName}')
fi
cut=$(k get pods -l app=db -o "jsonpath={range .items[?(@.spec.nodeName==\"$where\")]}{.metadata.name}{\"\n\"}{end}" | head -1)
"$minik8s" cluster cut-node "$where" >/dev/null
not_ready() { [ "$(field node "$where" '{.status.conditions[?(@.type=="Ready")].status}')" != True ]; }
ok "a node is cut off" until_true 6 not_ready
sleep 3 # time in which a second $cut could be made
is "its $cut runs once, where it was" 1 "$(for n in node-1 node-2 node-3; do podman_of $n ps --format '{{.Names}}'; done | grep -c "^m8_db_${cut}_")"
"$minik8s" cluster heal-node "$where" >/dev/null
ok "healed, all three run" until_true 20 names_are app=db "db-0 db-1 db-2"
k patch statefulset db -p '{"spec":{"template":{"metadata":{"annotations":{"v":"2"}}}}}' >/dev/null
ok "its rollout is complete" k rollout status statefulset db --timeout=90s
matches "history has two revisions" '^2 ' "$(k rollout history statefulset db)"
where=$(field pod db-2 '{.spec.nodeName}') lost=db-2
if [ "$where" = node-1 ]; then
    lost=$(k get pods -l app=db -o 'jsonpath={range .items[?(@.spec.nodeName!="node-1")]}{.metadata.name}{"\n"}{end}' | head -1)
    where=$(field pod "$lost" '{.spec.nodeName}')
fi
"$minik8s" cluster stop-node "$where" >/dev/null
ok "a node dies" until_true 8 not_ready
is "its $lost is waited for" "$where" "$(field pod "$lost" '{.spec.nodeName}')"
k taint node "$where" node.kubernetes.io/out-of-service=down:NoExecute >/dev/null
elsewhere() { [ "$(field pod "$lost" '{.status.phase}')" = Running ] && [ "$(field pod "$lost" '{.spec.nodeName}')" != "$where" ]; }
ok "vouched for as out of service, $lost runs elsewhere" until_true 15 elsewhere
"$minik8s" cluster start-node "$where" >/dev/null
k taint node "$where" node.kubernetes.io/out-of-service- >/dev/null
ok "the node is back" until_true 15 field_is node "$where" '{.status.conditions[?(@.type=="Ready")].status}' True
ok "with all three running once" until_true 10 names_are app=db "db-0 db-1 db-2"
is "every identity has written" "db-0 db-1 db-2" "$(awk '{print $1}' "$log/identities" | sort -u | paste -sd' ')"
# Lines of one name stand in blocks of one uid: an identity that ran twice would mix them.
is "no identity ran in two places" "" "$(awk '$2 != last[$1] { if (seen[$1 $2]++) print; last[$1] = $2 }' "$log/identities")"

# --- storage of identities ---
k apply -f manifests/workloads/claims.yaml >/dev/null
ok "two run, with claims of their own" until_true 20 names_are app=store "store-0 store-1"
is "which are bound" "data-store-0 Bound data-store-1 Bound" "$(k get pvc -l app=store --no-headers | awk '{print $1, $2}' | xargs)"
k scale statefulset store --replicas=1 >/dev/null
ok "one goes" until_true 10 names_are app=store store-0
k scale statefulset store --replicas=2 >/dev/null
k patch statefulset store -p '{"spec":{"updateStrategy":{"rollingUpdate":{"partition":1}},"template":{"metadata":{"annotations":{"v":"2"}}}}}' >/dev/null
ok "its rollout stops at the partition" k rollout status statefulset store --timeout=90s
is "store-0 keeps the old template" " 2" "$(field pod store-0 '{.metadata.annotations.v}') $(field pod store-1 '{.metadata.annotations.v}')"
who() { timeout 5 "$kubectl" exec store-1 -- sort -u /data/who; }
is "what the first store-1 wrote is with the present one" "store-1" "$(until_true 10 who >/dev/null; who)"
k delete statefulset store >/dev/null
no_claims() { [ -z "$(k get pvc -l app=store -o name)" ]; }
ok "whenDeleted: the claims go" until_true 15 no_claims

# --- Job, CronJob ---
k apply -f manifests/workloads/job-failures.yaml >/dev/null
k apply -f manifests/workloads/job.yaml >/dev/null
"$minik8s" cluster restart manager --kill >/dev/null # in the middle of it
complete() { [ "$(condition job "$1" Complete)" = True ]; }
reason() { field job "$1" '{.status.conditions[?(@.type=="Failed")].reason}'; }
ok "a Job over its deadline has failed" until_true 10 shows '^DeadlineExceeded$' reason slow
is "a suspended one has no pods" "" "$(k get pods -l job-name=picky -o name)"
k patch job picky -p '{"spec":{"suspend":false}}' >/dev/null
ok "an exit code that its policy names fails it at once" until_true 10 shows '^PodFailurePolicy$' reason picky
ok "a number that fails too often fails for itself" until_true 30 shows '^FailedIndexes$' reason uneven
is "the others have succeeded" "0,2 1" "$(field job uneven '{.status.completedIndexes} {.status.failedIndexes}')"
no_picky() { ! k get job picky; }
ok "ttlSecondsAfterFinished: it goes" until_true 10 no_picky
ok "the Job is complete, though the manager was killed" until_true 40 complete pieces
is "each number once" "0-4 5" "$(field job pieces '{.status.completedIndexes} {.status.succeeded}')"
ok "the CronJob is applied" k apply -f manifests/workloads/cronjob.yaml
two() { [ "$(k get jobs --no-headers | grep -c '^tick-.*Complete')" -ge 2 ]; }
ok "two Jobs are complete" until_true 20 two
k patch cronjob tick -p '{"spec":{"suspend":true}}' >/dev/null
ok "it tells what it does" said 'Created job tick-'
