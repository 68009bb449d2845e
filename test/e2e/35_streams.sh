#!/usr/bin/env bash
# Streams into and out of containers, from a machine that is none of the nodes: logs in all forms, exec, attach, cp,
# port-forward, run, debug; what goes wrong is told before anything begins.
#uses: script
. "$(dirname "$0")/lib.sh"
plan 63

start_cluster 2
k apply -f manifests/streams/ >"$work/apply.log" 2>&1 || note "$(cat "$work/apply.log")"
k wait --for=condition=Ready pod -l app=streams --timeout=60s >"$work/wait.log" 2>&1 || note "$(cat "$work/wait.log")"
k label pod shell talker --overwrite tier=x >/dev/null
says() { matches "$1" "$2" "$("$kubectl" "${@:3}" 2>&1)"; } # NAME PATTERN ARGUMENTS…
code() { "$kubectl" "$@" >/dev/null 2>&1; echo $?; }

# --- logs ---
is "logs -c" "line 1|line 10|10" "$(k logs talker -c lines | awk 'NR == 1 {a = $0} {b = $0} END {print a "|" b "|" NR}')"
is "logs --tail" "line 9 line 10" "$(k logs talker -c lines --tail=2 | xargs)"
is "logs --limit-bytes" "line 1 lin" "$(k logs talker -c lines --limit-bytes=10 | xargs)"
matches "logs --timestamps" '^20[0-9-]+T[0-9:.]+Z line 1$' "$(k logs talker -c lines --timestamps | head -n 1)"
until_true 5 sh -c "[ \$('$kubectl' logs talker -c clock | wc -l) -ge 6 ]"
sixth=$(k logs talker -c clock --timestamps | awk 'NR == 6 {print $1}')
is "logs --since-time: from that moment on" "$sixth tick" "$(k logs talker -c clock --timestamps --since-time="$sixth" | head -n 1)"
is "logs --since: nothing is so new" "" "$(sleep 1; k logs talker -c lines --since=1s)"
is "logs of an init container" "first speaks" "$(k logs talker -c first)"
is "logs --all-containers --prefix" "clock crash first lines" "$(k logs talker --all-containers --prefix | sed -nE 's,^\[pod/talker/([a-z]+)\] .*,\1,p' | sort -u | xargs)"
says "logs -l, with the pod and container" '^\[pod/talker/clock\] tick' logs -l app=streams --all-containers --prefix --tail=1
timeout 3 "$kubectl" logs -f talker -c clock --tail=1 >"$work/followed" 2>&1
ok "logs -f goes on" test "$(grep -c tick "$work/followed")" -ge 5
says "logs -f of too many is refused" 'follow 6 log streams, but maximum allowed concurrency is 5' logs -f -l app=streams --all-containers
k exec talker -c crash -- touch /seen/end
ok "the container ends and begins anew" until_true 10 sh -c "'$kubectl' logs talker -c crash | grep -q 'begun 1'"
is "logs --previous: of the one before" "begun 0" "$(k logs talker -c crash --previous)"
says "logs of a container that is not there" 'container nope is not valid for pod talker' logs talker -c nope
says "both --since and --since-time are refused" 'only one of sinceTime or sinceSeconds' logs talker -c lines --since=1s --since-time=2026-01-01T00:00:00Z

# --- exec ---
is "exec: exit code" 7 "$(code exec talker -c lines -- sh -c 'exit 7')"
head -c 20000000 /dev/urandom >"$work/big"
is "exec -i: 20 MB arrive whole" "$(md5sum <"$work/big")" "$(k exec -i talker -c lines -- md5sum <"$work/big")"
is "exec: 20 MB come whole" "$(head -c 20000000 /dev/zero | md5sum)" "$(k exec talker -c lines -- head -c 20000000 /dev/zero | md5sum)"
is "exec: the end of standard input is seen" 3 "$(printf 'a\nb\nc\n' | k exec -i talker -c lines -- wc -l)"
matches "exec -it: the terminal has our size" '33 77' "$(sleep 4 | timeout 10 script -qc "stty rows 33 cols 77; '$kubectl' exec -it talker -c lines -- sh -c 'until stty size | grep 77; do sleep 0.1; done'" /dev/null)"
says "exec in a pod that is not there" 'pods "nope" not found' exec nope -- true
says "exec of a program that is not there" 'no such file|not found|No such file' exec talker -c lines -- /no/such
ok "exec in the other pod, on whichever node" k exec shell -- true

# --- attach ---
timeout 3 "$kubectl" attach talker -c clock >"$work/attached" 2>&1
ok "attach shows what is written from now on" test "$(grep -c tick "$work/attached")" -ge 5
{ sleep 1; echo 'echo $((6 * 7))-joined'; sleep 2; } | timeout 8 script -qfc "'$kubectl' attach -it shell" "$work/joined" >/dev/null 2>&1
matches "attach -it: the shell answers" '42-joined' "$(cat "$work/joined")"
# script ends its terminal with an end of input, at which the shell ends and its container begins anew.
ok "the shell is there for the next" until_true 10 k exec shell -- true
says "attach to a container that is not there" 'container nope not found in pod talker' attach talker -c nope

# --- cp ---
long=$(printf 'deep%.0s' $(seq 30))
mkdir -p "$work/tree/$long/empty" && cp "$work/big" "$work/tree/$long/big" && echo small >"$work/tree/small" && ln -s small "$work/tree/link"
ok "cp a file in" k cp "$work/big" talker:/tmp/big -c lines
is "it is the same" "$(md5sum <"$work/big")" "$(k exec talker -c lines -- md5sum /tmp/big | awk '{print $1 "  -"}')"
ok "cp a folder in" k cp "$work/tree" shell:/tmp/tree
is "with its files, long names and links" "small small" "$(k exec shell -- sh -c "cat /tmp/tree/link /tmp/tree/small; test -s /tmp/tree/$long/big -a -d /tmp/tree/$long/empty || echo lost" | tr -d '\r' | xargs)"
ok "cp a folder into one that is there" k cp "$work/tree" shell:/tmp/tree
ok "it lies inside" k exec shell -- test -f /tmp/tree/tree/small
ok "cp a file out" k cp talker:/tmp/big "$work/back" -c lines
ok "it is the same" cmp "$work/big" "$work/back"
ok "cp a folder out" k cp shell:/tmp/tree "$work/out"
ok "it is the same" cmp "$work/tree/$long/big" "$work/out/$long/big"
says "cp of a local file that is not there" "doesn't exist in local filesystem" cp "$work/nothing" shell:/tmp/
ok "cp of what is not in the container fails" refuses k cp shell:/no/such "$work/x"
says "cp between two places here is refused" 'must be a remote file specification' cp "$work/a" "$work/b"

# --- port-forward ---
forward() { # ARGUMENTS…: in the background; $forward, $work/forward
    : >"$work/forward" # what the last one said is no answer of this one
    "$kubectl" port-forward "$@" >"$work/forward" 2>&1 &
    forward=$!
    until_true 5 grep -q Forwarding "$work/forward"
}
unforward() { kill "$forward" && wait "$forward"; }
forward talker 19000:9000 19001:inside 19002:81
is "port-forward: what listens on localhost only" "only for port-forward" "$(curl -s -m 5 http://127.0.0.1:19000/)"
is "by the port's name" "only for port-forward" "$(curl -s -m 5 http://127.0.0.1:19001/)"
is "40 connections at a time" "40" "$(seq 40 | xargs -P 40 -I{} curl -s -m 10 http://127.0.0.1:19000/ | grep -c only)"
k cp "$work/big" talker:/www/big -c web
ok "20 MB come whole" cmp "$work/big" <(curl -s -m 20 http://127.0.0.1:19000/big)
refuses curl -s -m 5 http://127.0.0.1:19002/ >/dev/null
ok "a port where nobody listens: said so" until_true 5 grep -q 'error forwarding port 81 to pod talker: .*connection refused' "$work/forward"
is "and the others go on" "only for port-forward" "$(curl -s -m 5 http://127.0.0.1:19000/)"
unforward
says "a port name that is not there" "does not have a named port 'nope'" port-forward talker 19000:nope
k create deployment web --image=localhost/m8-web:1 --replicas=2 >/dev/null && k expose deployment web --port=80 --target-port=80 >/dev/null
k rollout status deployment/web --timeout=90s >/dev/null
forward svc/web 19003:80
matches "port-forward to a Service: its port leads to the pod's" 'pod=web-' "$(curl -s -m 5 http://127.0.0.1:19003/)"
unforward
forward deployment/web 19004:80
matches "port-forward to a Deployment" 'pod=web-' "$(curl -s -m 5 http://127.0.0.1:19004/)"
unforward
forward shell 19005:80
k delete pod shell --wait=false >/dev/null
wait "$forward"
is "the end of the pod ends port-forward" 1 $?
ok "which says so" grep -q 'lost connection to pod' "$work/forward"

# --- run ---
printf 12345 | k run look --rm -iq --restart=Never --image=localhost/m8-busybox:1 -- sh -c 'echo $(wc -c) bytes; exit 4' >"$work/run" 2>"$work/run.err"
is "run --rm -i: the command's output and exit code" "4 5 bytes" "${PIPESTATUS[1]} $(cat "$work/run")"
is "and nothing is left" "" "$(k get pod look --ignore-not-found -o name)"
says "run" 'pod/plain created' run plain --image=localhost/m8-busybox:1 --env=A=b --labels=x=y -- sleep 1000
is "with its words, labels and environment" "sleep y b" "$(k get pod plain -o 'jsonpath={.spec.containers[0].args[0]} {.metadata.labels.x} {.spec.containers[0].env[0].value}')"
ok "debug --copy-to: a copy with another command" k debug talker --copy-to=talker-copy --container=lines --image=localhost/m8-busybox:1 -- sleep 500
is "which is its" "sleep 500" "$(k get pod talker-copy -o 'jsonpath={.spec.containers[?(@.name=="lines")].command[*]}')"

target=$({ echo 'cat /proc/[0-9]*/cmdline | tr "\0" " "'; sleep 1; } | timeout 20 "$kubectl" debug -i talker --image=localhost/m8-busybox:1 --target=web -- sh 2>"$work/debug")
matches "debug --target: a container in the pod, that sees the other's processes" 'httpd -f -p 127.0.0.1:9000' "$target" || note "$(cat "$work/debug")"
is "whose pod goes on" "0 0" "$(k get pod talker -o 'jsonpath={.status.containerStatuses[?(@.name=="web")].restartCount} {.status.containerStatuses[?(@.name=="lines")].restartCount}')"
address=$(field node node-2 '{.status.addresses[?(@.type=="InternalIP")].address}')
seen=$({ echo 'ip -4 addr show; cat /host/proc/1/comm'; sleep 1; } | timeout 20 "$kubectl" debug -i node/node-2 --image=localhost/m8-busybox:1 -- sh 2>"$work/debug")
matches "debug node/NODE: its network and files" "inet $address/.* $(cat /proc/1/comm)\$" "$(tr '\n' ' ' <<<"$seen" | sed 's/ *$//')" || note "$(cat "$work/debug")"
says "debug of a container that is not there" 'container nope is not in pod talker' debug talker --image=x --target=nope

# --- the server's words, before the upgrade ---
k create -f - >/dev/null <<<'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"nowhere"},"spec":{"nodeSelector":{"no":"such"},"containers":[{"name":"a","image":"localhost/m8-busybox:1"}]}}'
says "exec in a pod that is on no node" 'pod nowhere does not have a host assigned' exec nowhere -- true
says "port-forward to a pod that does not run" 'unable to forward port because pod is not running. Current status=Pending' port-forward nowhere 19006:80
