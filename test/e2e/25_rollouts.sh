#!/usr/bin/env bash
# Rolling updates under 500 requests a second, half over kept connections, half over new ones: no request fails, and samples every
# 10 ms show that never fewer pods were available, nor more there, than the strategy allows. Then an update that cannot succeed,
# one that is replaced half-way, and one while every write of the server waits for a slow disk. `ci/test --long`: 200 updates.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/inspect.sh"
plan 20
updates=${LONG:+100}
updates=${updates:-10}

export LD_PRELOAD SLOW_DISK=$work/slow
LD_PRELOAD=$(realpath "$BUILD/test/slow_disk.so")
start_cluster
unset LD_PRELOAD
ok "the demo is applied and rolled out" start_demo
config=$("$minik8s" cluster kubeconfig)
part() { awk -v key="$1:" '$1 == key {print $2}' "$config"; }
part certificate-authority-data | base64 -d >"$work/ca"
(umask 077 && echo "header = \"Authorization: Bearer $(part token)\"" >"$work/curl") # not in the list of processes

: >"$work/phase"
mkfifo "$work/events"
curl -sN --cacert "$work/ca" -K "$work/curl" -o "$work/events" \
    "$(part server)/api/v1/namespaces/default/pods?watch=1&labelSelector=app%3Dweb&timeoutSeconds=1200" &
watch=$!
test/e2e/samples.py "$work/phase" <"$work/events" >"$work/samples" &
sampler=$!
start_load "from node-2" 250 "$minik8s" cluster exec node-2 --
start_load "from a pod on node-3" 250 nsenter -t "$(pid_of toolbox-node-3 busybox)" -n

update() { k set image deployment/web "web=localhost/m8-web:$1" >/dev/null && k rollout status deployment web --timeout=60s >/dev/null; }
update_often() { # PHASE: what failed
    local i since
    echo "$1" >"$work/phase"
    for ((i = 0; i < updates; i++)); do
        since=$(now)
        update $((2 - i % 2)) || echo "update $i of $1"
        echo $(($(now) - since)) >>"$work/$1.ms"
    done
    : >"$work/phase"
    note "$1: $(sort -n "$work/$1.ms" | awk '{a[NR] = $1} END {print NR " updates, median " a[int((NR + 1) / 2)] " ms, longest " a[NR] " ms"}')" >&2
}
is "$updates updates with maxSurge and maxUnavailable of 25 %" "" "$(update_often quarter)"
k patch deployment web --type merge -p '{"spec":{"strategy":{"rollingUpdate":{"maxSurge":1,"maxUnavailable":0}}}}' >/dev/null
is "$updates updates with maxSurge 1 and maxUnavailable 0" "" "$(update_often careful)"

# One update is replaced by another half-way: the pods of the first go first, and the limits hold over all three.
echo replaced >"$work/phase"
k set image deployment/web web=localhost/m8-web:2 >/dev/null
k set env deployment/web GENERATION=2 >/dev/null
sleep 0.3
k set env deployment/web GENERATION=3 >/dev/null
ok "an update that is replaced by another half-way ends with the newest" k rollout status deployment web --timeout=60s
is "only the newest has pods" "6" "$(k get replicasets -l app=web -o jsonpath='{range .items[*]}{.status.replicas}{"\n"}{end}' | grep -v '^0*$' | tr '\n' ' ' | tr -d ' ')"

# One that cannot succeed stops where nobody is hurt, says so, and is taken back.
echo stuck >"$work/phase"
k patch deployment web --type merge -p '{"spec":{"progressDeadlineSeconds":2}}' >/dev/null
k set image deployment/web web=localhost/m8-none:1 >/dev/null
status=$(k rollout status deployment web --timeout=90s 2>&1)
is "an update with an image that does not exist: rollout status fails" 1 $?
matches "… and says why" 'exceeded its progress deadline' "$status"
is "condition Progressing" "False ProgressDeadlineExceeded" "$(field deployment web '{.status.conditions[?(@.type=="Progressing")].status} {.status.conditions[?(@.type=="Progressing")].reason}')"
is "condition Available" True "$(field deployment web '{.status.conditions[?(@.type=="Available")].status}')"
k patch deployment web --type merge -p '{"spec":{"progressDeadlineSeconds":600}}' >/dev/null
ok "rollout undo" k rollout undo deployment web
ok "all six are the old ones" k rollout status deployment web --timeout=90s
: >"$work/phase"

# Every commit takes 50 to 150 ms.
echo slow >"$work/phase"
echo 100 >"$work/slow"
since=$(now)
ok "an update while the server's disk is slow" update 1
note "took $(($(now) - since)) ms"
rm "$work/slow"
end_load "from node-2"
end_load "from a pod on node-3"
kill $watch
wait $watch 2>/dev/null
wait $sampler

note "phase, samples, least available, most pods, least processes:"
note "$(cat "$work/samples")"
of() { awk -v phase="$1" -v column="$2" '$1 == phase {print $column}' "$work/samples"; } # PHASE COLUMN
spent() { awk '{sum += $1} END {print int(sum)}' "$work/$1.ms"; }
ok "most instants were sampled" test "$(of quarter 2)" -ge $(($(spent quarter) / 20))
is "25 %: at least 5 were available, at most 8 there" "yes" "$([ "$(of quarter 3)" -ge 5 ] && [ "$(of quarter 4)" -le 8 ] && echo yes)"
for phase in careful replaced stuck slow; do
    is "maxUnavailable 0, $phase: 6 were available, at most 7 there, 6 served" "yes" \
        "$([ "$(of $phase 3)" -ge 6 ] && [ "$(of $phase 4)" -le 7 ] && [ "$(of $phase 5)" -ge 6 ] && echo yes)"
done
