#!/usr/bin/env bash
# 41_pod_life: order of containers, hooks, probes' grace, back-off and its end, deadlines, gates, standard input, logs over
# restarts: manifests/pods shown in force from outside.
#uses: sed grep awk seq tr
. "$(dirname "$0")/lib.sh"
plan 50
start_cluster 1

PODS=manifests/pods
trap 'rm -rf /tmp/m8-order /tmp/m8-stop; finish' EXIT
rm -rf /tmp/m8-order /tmp/m8-stop

pod() { field pod "$1" "{$2}"; }                                       # POD PATH
state() { pod "$1" ".status.containerStatuses[0].state.$2"; }          # POD PATH
last() { pod "$1" ".status.containerStatuses[0].lastState.terminated.$2"; }
restarts() { pod "$1" ".status.containerStatuses[0].restartCount"; }
restarted() { [ "$(restarts "$1")" -ge "$2" ]; } # POD TIMES
condition() { pod "$1" ".status.conditions[?(@.type==\"$2\")].$3"; }   # POD TYPE FIELD
events() { k get events --field-selector "involvedObject.name=$1" -o 'jsonpath={.items[*].reason}'; }
says() { local want=$1; shift; [ "$("$@")" = "$want" ]; }              # TEXT COMMAND…
has() { grep -qF -- "$2" <<<"$1"; }
lines() { tr '\n' ',' </tmp/m8-order/lines; }
running() { podman_of node-1 ps -q --filter "label=io.minik8s.pod.name=$1" | grep -c .; }
created() { # POD: when each of its containers was started, in seconds
    local id
    for id in $(podman_of node-1 ps -aq --filter "label=io.minik8s.pod.name=$1" --filter label=io.minik8s.container=main); do
        podman_of node-1 inspect --format '{{.State.StartedAt.UnixMilli}}' "$id"
    done | sort -n
}
has_terminal() { has "$(k logs gate -c term)" /dev/pts/; }
refused() { # NAME PATH SPEC
    local out
    out=$(k apply -f - 2>&1 <<<'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"bad"},"spec":'"$3"'}')
    ok "$1" has "$out" "$2" || note "$out"
}

for file in deadline order backoff hooks readiness-gate stop-signal stdin; do
    k apply -f $PODS/$file.yaml >/dev/null || note "apply $file failed"
done

# ---- order
k wait --for=condition=Ready pod/order --timeout=90s >/dev/null
is "init containers one after another, sidecars before the application" "init-one,start first,start second,init-two,start app," "$(lines)"
is "status: every init container is ready" "true true true true" "$(pod order '.status.initContainerStatuses[*].ready')"
k delete pod order >/dev/null
is "the application stops first, then the sidecars in reverse order" "stop app,stop second,stop first," "$(lines | sed 's/.*start app,//')"

# ---- deadline
ok "activeDeadlineSeconds: the pod fails" until_true 10 says "Failed DeadlineExceeded" pod deadline ".status.phase} {.status.reason"
is "nothing of it runs" 0 "$(running deadline)"
took=$(k get pod deadline -o json | jq '((.status.containerStatuses[0].state.terminated.finishedAt | fromdate) - (.status.startTime | fromdate))')
ok "after four seconds, and one of grace (${took} s)" [ "$took" -ge 4 -a "$took" -le 8 ]
ok "an Event says so" has "$(events deadline)" DeadlineExceeded
ok "its container shows how it ended" [ "$(state deadline terminated.exitCode)" -gt 128 ]

# ---- gates (conditionType)
is "readinessGates: the container is ready, the pod is not" "True False ReadinessGatesNotReady" \
    "$(condition gate ContainersReady status) $(condition gate Ready status) $(condition gate Ready reason)"
k patch pod gate --subresource=status --type=strategic -p '{"status":{"conditions":[{"type":"example.org/warm","status":"True"}]}}' >/dev/null
ok "with the condition it is" until_true 3 says True condition gate Ready status
is "and the condition of others stays" True "$(condition gate example.org/warm status)"

# ---- ephemeral containers: command, args, workingDir, env, securityContext, volumeMounts, imagePullPolicy, terminationMessagePolicy
add() { k patch pod gate --subresource=ephemeralcontainers --type=strategic -p "$1"; }
add "$(cat $PODS/debug-patch.yaml)" >/dev/null
look() { pod gate ".status.ephemeralContainerStatuses[?(@.name==\"look\")].state.terminated.$1"; }
ok "an ephemeral container runs once in a running pod" until_true 10 says 0 look exitCode
is "with its command, args, workingDir, env, user, mounts, and its targetContainerName's processes" "/var,1000,to look,sleep infinity ,gate" \
    "$(k logs gate -c look | tr '\n' ',' | sed 's/,$//')"
is "terminationMessagePath" seen "$(look message | tr -d '\n')"
ok "describe shows it" grep -qE '^Ephemeral Containers:' <<<"$(k describe pod gate)"
is "the pod stays what it was: ready, nothing restarted" "True 0" "$(condition gate Ready status) $(restarts gate)"
add '{"spec":{"ephemeralContainers":[{"name":"wait","image":"localhost/m8-busybox:1","stdin":true,"stdinOnce":true,"command":["sh","-c","cat; echo over"]},{"name":"term","image":"localhost/m8-busybox:1","tty":true,"command":["sh","-c","tty"]}]}}' >/dev/null
waiting=
until_true 10 eval 'waiting=$(podman_of node-1 ps -q --filter label=io.minik8s.pod.name=gate --filter label=io.minik8s.container=wait); [ -n "$waiting" ]'
echo given | timeout 10 "$minik8s" cluster podman node-1 attach "$waiting" >/dev/null 2>&1
ok "stdin, stdinOnce: it gets its input to the end" until_true 5 says "given over " eval 'k logs gate -c wait | tr "\n" " "'
ok "tty: it has a terminal" until_true 5 has_terminal
out=$(add '{"spec":{"ephemeralContainers":[{"name":"look","image":"other"}]}}' 2>&1)
ok "what is there may not be changed" has "$out" 'existing ephemeral containers "look" may not be changed'
out=$(add '{"spec":{"ephemeralContainers":[{"name":"x","image":"b","targetContainerName":"none"}]}}' 2>&1)
ok "an unknown target is refused" has "$out" "spec.ephemeralContainers[3].targetContainerName"
out=$(add '{"spec":{"ephemeralContainers":[{"name":"x","image":"b","ports":[{"containerPort":1}]}]}}' 2>&1)
ok "ports are refused" has "$out" "spec.ephemeralContainers[3].ports"

# ---- signal
k delete pod stop-signal >/dev/null
is "lifecycle.stopSignal asks the container to end" quit "$(cat /tmp/m8-stop/signal)"

# ---- standard input
k wait --for=jsonpath='{.status.phase}'=Running pod/reader --timeout=90s >/dev/null
reader=$(podman_of node-1 ps -q --filter label=io.minik8s.pod.name=reader --filter label=io.minik8s.container=main)
printf 'one\ntwo\n' | timeout 10 "$minik8s" cluster podman node-1 attach "$reader" >/dev/null 2>&1
ok "stdinOnce: the input ends with its first client" until_true 5 says Succeeded pod reader .status.phase
is "which has written all of it" "one,two,the input has ended," "$(k logs reader | tr '\n' ',')"

# ---- hooks and probes
ok "postStart that fails: the pod fails" until_true 10 says Failed pod hook-fails .status.phase
ok "with an Event that has its words" has "$(k get events --field-selector involvedObject.name=hook-fails -o 'jsonpath={.items[*].message}')" "no luck"
since=$(now)
k delete pod pre-stop >/dev/null
within 4000 "preStop is cut off with the grace period" 1 true
ok "a failing liveness probe restarts the container" until_true 15 restarted probe-grace 1
graced=$(k get pod probe-grace -o json | jq '.status.containerStatuses[0].lastState.terminated | (.finishedAt | fromdate) - (.startedAt | fromdate)')
ok "within the probe's own grace period (${graced} s, not the pod's 60)" [ "${graced:-99}" -le 6 ]
k delete pod probe-grace --grace-period=0 --force >/dev/null 2>&1

# ---- back-off
ok "a container that fails waits" until_true 15 says CrashLoopBackOff state backoff waiting.reason
ok "with back-off Events" has "$(events backoff)" BackOff
is "its last words are kept" "bad mood" "$(last backoff message | tr -d '\n')"
is "and its exit code" 3 "$(last backoff exitCode)"
until_true 12 restarted backoff 3
ends=$(k get pod backoff -o json | jq '.status.containerStatuses[0].restartCount')
ok "it was tried again $ends times: after 1, 2 and 4 s" [ "$ends" -ge 2 ]
is "logs: the last attempt's" "my mood is bad" "$(k logs backoff)"
is "logs --previous: the one before" "my mood is bad" "$(k logs --previous backoff)"
until_true 15 says CrashLoopBackOff state backoff waiting.reason
since=$(now)
k patch configmap backoff -p '{"data":{"mood":"good"}}' >/dev/null
tried_again() { [ "$(running backoff)" = 1 ]; }
within 2000 "a changed ConfigMap ends the wait at once" 5 tried_again || note "$(k get pods)"
is "with the new value" "my mood is good" "$(k logs backoff)"
is "and the failed one's log stays" "my mood is bad" "$(k logs --previous backoff)"

refused "ephemeral containers at the creation" "spec.ephemeralContainers" '{"containers":[{"name":"a","image":"b"}],"ephemeralContainers":[{"name":"e","image":"b"}]}'
# ---- bad input: every refusal names the path
refused "two containers of one name" "spec.containers[1].name" '{"containers":[{"name":"a","image":"b"},{"name":"a","image":"b"}]}'
refused "a mount of no volume" 'spec.containers[0].volumeMounts[0].name' '{"containers":[{"name":"a","image":"b","volumeMounts":[{"name":"none","mountPath":"/x"}]}]}'
refused "two ports of one name" "spec.containers[0].ports[1].name" '{"containers":[{"name":"a","image":"b","ports":[{"name":"x","containerPort":1},{"name":"x","containerPort":2}]}]}'
refused "a port beyond the last" "spec.containers[0].ports[0].containerPort" '{"containers":[{"name":"a","image":"b","ports":[{"containerPort":65536}]}]}'
refused "a negative grace period" "spec.terminationGracePeriodSeconds" '{"terminationGracePeriodSeconds":-1,"containers":[{"name":"a","image":"b"}]}'
refused "a deadline of nought" "spec.activeDeadlineSeconds" '{"activeDeadlineSeconds":0,"containers":[{"name":"a","image":"b"}]}'
refused "a name of 300 characters" "spec.containers[0].name" '{"containers":[{"name":"'"$(printf 'a%.0s' $(seq 300))"'","image":"b"}]}'
refused "an unknown signal" "spec.containers[0].lifecycle.stopSignal" '{"containers":[{"name":"a","image":"b","lifecycle":{"stopSignal":"SIGNO"}}]}'
refused "a probe with two ways" "spec.containers[0].livenessProbe" '{"containers":[{"name":"a","image":"b","livenessProbe":{"exec":{"command":["x"]},"tcpSocket":{"port":1}}}]}'
refused "a negative period" "spec.containers[0].livenessProbe.periodSeconds" '{"containers":[{"name":"a","image":"b","livenessProbe":{"exec":{"command":["x"]},"periodSeconds":-1}}]}'
