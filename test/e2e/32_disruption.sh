#!/usr/bin/env bash
# Evictions under a PodDisruptionBudget: as many as it allows and not one more, also when they come at the same time; judged by the
# containers that podman runs.
. "$(dirname "$0")/lib.sh"
plan 21

start_cluster 1
k apply -f manifests/scheduling/budget.yaml >/dev/null
ok "three guarded pods are ready" until_true 30 ready_is guarded 3
allowed() { [ "$(field pdb guarded '{.status.disruptionsAllowed}')" = "$1" ]; }
ok "one may go" until_true 10 allowed 1
matches "get pdb shows it" 'guarded +2 +N/A +1 ' "$(k get pdb)"

config=$("$minik8s" cluster kubeconfig)
part() { awk -v key="$1:" '$1 == key {print $2}' "$config"; }
part certificate-authority-data | base64 -d >"$work/ca"
(umask 077 && echo "header = \"Authorization: Bearer $(part token)\"" >"$work/curl") # not in the list of processes
evict() { # POD: the status code; the answer goes to $work/POD
    curl -s -m 20 --cacert "$work/ca" -K "$work/curl" -o "$work/$1" -w '%{http_code}\n' \
        -H 'Content-Type: application/json' -d '{"apiVersion":"policy/v1","kind":"Eviction"}' \
        "$(part server)/api/v1/namespaces/default/pods/$1/eviction"
}
pods=$(k get pods -l app=guarded -o 'jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}')
lived() { podman_of node-1 ps --format '{{.Names}}' | grep -c guarded; }
before=$(lived)
for pod in $pods; do evict "$pod" >"$work/code-$pod" & done
wait
codes=$(cat "$work"/code-* | sort | xargs)
is "of three evictions at the same time one is granted" "201 429 429" "$codes"
refused=$(grep -l 429 "$work"/code-* | head -1)
refused=${refused##*/code-}
matches "the others are told why" 'Cannot evict pod as it would violate the pod.s disruption budget' "$(cat "$work/$refused")"
is "with the cause that kubectl looks for" DisruptionBudget "$(jq -r '.details.causes[0].reason' "$work/$refused")"
matches "and the numbers" 'budget guarded needs 2 healthy pods and has [0-9]+ currently' "$(cat "$work/$refused")"
ok "at least two were running all the time" test "$(lived)" -ge $((before * 2 / 3))
ok "the missing one is replaced" until_true 20 ready_is guarded 3
ok "then one may go again" until_true 10 allowed 1
is "which is granted" 201 "$(evict "$refused")"
is "a budget that says both is refused" 1 "$(k apply -f - 2>&1 <<END | grep -c 'spec: Invalid value.*minAvailable and maxUnavailable cannot be both set'
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: bad}
spec: {minAvailable: 1, maxUnavailable: 1, selector: {matchLabels: {app: x}}}
END
)"
# A Job that may not fail, and an eviction that is not its failure.
k apply -f manifests/workloads/job-failures.yaml >/dev/null
job_pod() { k get pods -l job=spared --field-selector status.phase=Running -o 'jsonpath={.items[0].metadata.name}'; }
runs() { [ -n "$(job_pod)" ]; }
ok "a Job's pod runs" until_true 10 runs
first=$(job_pod)
k get pods -w -l job=spared -o 'jsonpath={.metadata.name} {.status.conditions[?(@.type=="DisruptionTarget")].reason}{"\n"}' >"$work/watch" 2>/dev/null &
watch=$!
ok "it is watched" until_true 5 test -s "$work/watch"
is "it is evicted" 201 "$(evict "$first")"
done_once() { grep -qE '^1 0?$' <<<"$(field job spared '{.status.succeeded} {.status.failed}')"; }

# drain meets the budget's 429 and goes on when it may
ok "the missing one is replaced again" until_true 20 ready_is guarded 3
output=$(k drain node-1 --timeout=3s --ignore-daemonsets --force 2>&1)
matches "drain stops at the budget and says so" 'Cannot evict pod as it would violate the pod.s disruption budget' "$output"
ok "at least two run on" test "$(lived)" -ge 2
k uncordon node-1 >/dev/null
ok "the Job's next pod succeeds, and no failure is counted" until_true 20 done_once
kill "$watch" 2>/dev/null
ok "its first had the condition DisruptionTarget" grep -q "^$first EvictionByEvictionAPI" "$work/watch"
k delete pdb guarded >/dev/null
is "without a budget every eviction is granted" 201 "$(evict "$(k get pods -l app=guarded -o 'jsonpath={.items[0].metadata.name}')")"
