#!/usr/bin/env bash
# Everything of minik8s is killed while the demo serves: nobody notices. Then containers, pods and nodes are lost and replaced
# within their deadlines, and rolling updates lose no request. Prints the measured times.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/inspect.sh"
plan 45

start_cluster
ok "the demo is applied and rolled out" start_demo
address=$(field service web '{.spec.clusterIP}')
in_node() { "$minik8s" cluster exec node-2 -- "$@"; }
serves() { # NODE: its agent answers
    k exec "toolbox-$1" -- true
}
heard_of() { [ "$(field lease "$1" '{.spec.renewTime}' -n kube-node-lease)" != "$2" ]; }
web_on() { # NODE…: how many web containers podman runs there
    local node n=0
    for node; do n=$((n + $(podman_of "$node" ps --format '{{.Names}}' | grep -c '^m8_web_web-'))); done
    echo $n
}
web_is() { [ "$(web_on "${@:2}")" = "$1" ]; }
answering() { # NODE: how many different pods answer 60 requests through the Service
    on "$1" sh -c "for i in \$(seq 60); do curl -sf -m 1 http://$address/ || echo failed; done" | grep -o 'pod=[^ ]*\|failed' | sort -u
}
six_answer() { local who; who=$(answering "$1"); ! grep -q failed <<<"$who" && [ "$(wc -l <<<"$who")" = 6 ]; }
ready_status() { [ "$(field node "$1" '{.status.conditions[?(@.type=="Ready")].status}')" = "$2" ]; }
not_ready() { ! ready_status "$1" True; }
knows() { grep -q "$2" <<<"$(on "$1" nft list ruleset)"; } # NODE ADDRESS
forgotten() { # ADDRESS NODE…
    local node
    for node in "${@:2}"; do ! knows "$node" "$1" || return 1; done
}

# --- 1. Processes of minik8s die; nothing that runs may notice ---
before=$(containers)
start_load "load from node-2" 200 "$minik8s" cluster exec node-2 --
start_load "load from a pod on node-3" 200 nsenter -t "$(pid_of toolbox-node-3 busybox)" -n
ok "server and manager are killed, away for 20 s" "$minik8s" cluster restart server manager --kill --down-for 20
ok "afterwards every node is Ready" until_true 10 ready_status node-3 True
for node in node-1 node-2 node-3; do
    ok "the agent of $node is killed and started" "$minik8s" cluster restart agent $node --kill
    ok "it answers again" until_true 10 serves $node
done
for node in node-1 node-2 node-3; do
    old=$(cut -d' ' -f1 "$MINIK8S_DIR/nodes/$node/podman/podman.pid") resolver=$(cut -d' ' -f1 "$MINIK8S_DIR/nodes/$node/network/resolver.pid")
    kill -KILL "$old" "$resolver"
done
for node in node-1 node-2 node-3; do
    ok "$node: podman's service and the resolver were killed: podman answers again" until_true 10 podman_of $node version
    ok "$node: names are resolved again" until_true 5 on $node curl -sf -m 1 http://web.default.svc.cluster.local/
done
# Names, by clients with the resolver options that every pod and node has: each of the two resolvers dies, three times. What a
# resolver had taken in when it died nobody answers: such a question is asked again after 1 s, hence the clients' 3 s.
asking() { # FILE COMMAND…: asks by name until the file is there; what failed, then how often it asked
    local n=0
    until [ -e "$work/stop" ]; do
        "${@:2}" >/dev/null 2>&1 || echo "failed after $n: $*"
        n=$((n + 1))
    done >"$work/$1"
    echo $n >"$work/$1.count"
}
resolver_pid() { cut -d' ' -f1 "$MINIK8S_DIR/nodes/$1/network/$2.pid"; } # NODE RESOLVER
other_pid() { local pid; pid=$(resolver_pid "$1" "$2" 2>/dev/null) && [ -n "$pid" ] && [ "$pid" != "$3" ]; }
asking node on node-1 curl -sf -m 3 http://web.default.svc.cluster.local/ &
asking pod nsenter -t "$(pid_of toolbox-node-2 busybox)" -n -m timeout 3 busybox wget -qO- http://web/ &
for resolver in resolver resolver-2 resolver resolver-2 resolver resolver-2; do
    for node in node-1 node-2; do
        old=$(resolver_pid $node $resolver)
        kill -KILL "$old"
        until_true 5 other_pid $node $resolver "$old"
    done
    sleep 0.3 # the new one listens: the other may go
done
touch "$work/stop"
until_true 5 test -s "$work/node.count" -a -s "$work/pod.count"
is "resolvers are killed in turn: no request by name fails, from a node ($(cat "$work/node.count") requests)" "" "$(cat "$work/node")"
is "… and from a pod ($(cat "$work/pod.count") requests)" "" "$(cat "$work/pod")"
ok "everything at once is killed and started" "$minik8s" cluster restart all --kill
for node in node-1 node-2 node-3; do until_true 15 serves $node; done
ok "afterwards all six are ready" until_true 15 ready_is web 6
end_load "load from node-2"
end_load "load from a pod on node-3"
is "no container was restarted" "$before" "$(containers)"

# --- 2. Rolling updates, deletions and scaling in lose nothing ---
start_load "rollouts, from node-2" 250 "$minik8s" cluster exec node-2 --
start_load "rollouts, from a pod on node-3" 250 nsenter -t "$(pid_of toolbox-node-3 busybox)" -n
for version in 2 1 2; do
    k set image deployment/web "web=localhost/m8-web:$version" >/dev/null
    since=$(now)
    ok "the update to version $version is rolled out" k rollout status deployment web --timeout=90s
    note "took $(($(now) - since)) ms"
done
ok "two pods are deleted and gone" k delete pod --timeout=90s $(k get pods -l app=web --no-headers | awk '$3 == "Running" {print $1}' | sed -n '1p;4p')
ok "six are ready again" until_true 15 ready_is web 6
k scale deployment web --replicas=2 >/dev/null
until_true 20 web_is 2 node-1 node-2 node-3
k scale deployment web --replicas=6 >/dev/null
ok "scaled to 2 and to 6" until_true 20 ready_is web 6
until_true 20 web_is 6 node-1 node-2 node-3
end_load "rollouts, from node-2"
end_load "rollouts, from a pod on node-3"

# --- 3. A container dies, a pod is deleted ---
k get deployment web -w --no-headers >"$work/watch" 2>/dev/null &
watch=$!
pod=$(k get pods -l app=web -o jsonpath='{.items[0].metadata.name}')
until_true 5 grep -q 6/6 "$work/watch"
since=$(now)
kill -KILL "$(pid_of "$pod" web)"
ok "killed: READY drops" until_true 5 grep -q 5/6 "$work/watch"
within 4000 "killed: READY recovers" 10 sh -c "tail -n 1 $work/watch | grep -q 6/6"
is "it was restarted in place" 1 "$(field pod "$pod" '{.status.containerStatuses[0].restartCount}')"
since=$(now)
k delete pod "$pod" --wait=false >/dev/null
gone() { ! shows "^$pod " k get pods -l app=web --no-headers && running_is app=web 6 && ready_is web 6; }
within 6000 "deleted: another pod is Running and ready instead" 10 gone
kill $watch && wait $watch 2>/dev/null

# --- 4. A node dies ---
lost=$(k get pods -l app=web -o wide --no-headers | awk '$7 == "node-3" {print $6; exit}')
until_true 10 web_is 6 node-1 node-2 node-3
since=$(now)
"$minik8s" cluster stop-node node-3 >/dev/null
within 3000 "node-3 stopped: NotReady" 10 not_ready node-3
within 3500 "its endpoints are gone from the other nodes' rules" 10 forgotten "$lost" node-1 node-2
within 6000 "six web containers run on the other nodes" 15 web_is 6 node-1 node-2
ok "all six answer" until_true 5 six_answer node-1
since=$(now)
ok "node-3 is started" "$minik8s" cluster start-node node-3
within 10000 "its old containers are gone" 15 web_is 0 node-3

# --- 5. A node is cut off ---
until_true 5 ready_status node-3 True
cut=$(web_on node-2)
since=$(now)
"$minik8s" cluster cut-node node-2 >/dev/null
within 3000 "node-2 cut off: NotReady" 10 not_ready node-2
within 6000 "six web containers run on the other nodes" 15 web_is 6 node-1 node-3
is "those on the cut-off node run on" "$cut" "$(web_on node-2)"
since=$(now)
"$minik8s" cluster heal-node node-2 >/dev/null
within 5000 "healed: the surplus is gone" 15 web_is 6 node-1 node-2 node-3
ok "all six answer, asked on node-2" until_true 5 six_answer node-2
