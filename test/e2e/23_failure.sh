#!/usr/bin/env bash
# manifests/nodes/failure.yaml: a node loses its power, comes back with what its disk holds, is declared out of service; most
# nodes vanish at once; everything of minik8s is killed under load; files of an agent are damaged.
#uses: truncate
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/inspect.sh"
plan 31

start_cluster
k apply -f manifests/nodes/failure.yaml >/dev/null
ok "the pods run" k wait --for=condition=Ready pod --all --timeout=90s
condition() { field node "$1" "{.status.conditions[?(@.type==\"$2\")].$3}"; }
not_ready() { [ "$(condition "$1" Ready status)" != True ]; }
is_ready() { [ "$(condition "$1" Ready status)" = True ]; }
runs_on() { podman_of "$1" ps --format '{{.Names}}' | grep -c "^m8_web_$2-\|^m8_web_$2_"; } # NODE POD
quick_is() { [ $(($(runs_on "$1" quick) + $(runs_on "$2" quick))) = 3 ]; }
uid() { field pod "$1" '{.metadata.uid}'; }
restarts() { field pod "$1" '{.status.containerStatuses[0].restartCount}'; }
listens_on() { grep -q "$2" <<<"$(on "$1" nft list map ip minik8s endpoints)"; }
patient=$(k get pods -l app=patient -o 'jsonpath={.items[0].metadata.name}')
answers() { on node-1 curl -sf -m 1 -o /dev/null "http://$(field pod "$1" '{.status.podIP}'):8080/"; }

# --- 1. the power cable of node-3; then it is plugged in again ---
until_true 5 answers "$patient"
lost=$(k get pods -l app=quick -o wide --no-headers | awk '$7 == "node-3" {print $6; exit}')
before="$(uid alone) $(uid "$patient")"
until_true 5 listens_on node-1 "$lost"
since=$(now)
"$minik8s" cluster stop-node node-3 >/dev/null
within 3000 "power loss: NotReady" 10 not_ready node-3
ok "with a reason and an Event" shows 'NodeNotReady: Node node-3 has not been heard of' events_of node-3
within 3500 "its endpoints are gone from node-1's rules" 10 refuses listens_on node-1 "$lost"
within 6000 "Running elsewhere: the Deployment's pods" 10 quick_is node-1 node-2
ok "the taint is on the node" shows 'unreachable:NoExecute' field node node-3 '{range .spec.taints[*]}{.key}:{.effect}{"\n"}{end}'
sleep 1
is "pods that wait for their node are still its own" "$before node-3" "$(uid alone) $(uid "$patient") $(field pod alone '{.spec.nodeName}')"
since=$(now)
ok "it is started again" "$minik8s" cluster start-node node-3
ok "they run there again" until_true 15 sh -c "[ \$($kubectl get pods alone $patient --no-headers | grep -c ' 1/1 .*Running') = 2 ]"
note "after $(($(now) - since)) ms"
is "the same pods, each container begun once more" "$before 1 1" "$(uid alone) $(uid "$patient") $(restarts alone) $(restarts "$patient")"
ok "they answer" until_true 5 answers alone
ok "what was replaced meanwhile is gone" until_true 5 sh -c "[ \$('$minik8s' cluster podman node-3 ps --format '{{.Names}}' | grep -c '^m8_web_quick') = 0 ]"
ok "the taints are gone" until_true 5 sh -c "[ -z \"\$($kubectl get node node-3 -o 'jsonpath={.spec.taints[0].key}')\" ]"

# --- 2. off for good ---
"$minik8s" cluster stop-node node-3 >/dev/null
until_true 10 not_ready node-3
since=$(now)
k patch node node-3 --type=json -p '[{"op":"add","path":"/spec/taints/-","value":{"key":"node.kubernetes.io/out-of-service","value":"nodeshutdown","effect":"NoExecute"}}]' >/dev/null 2>&1 ||
    k patch node node-3 -p '{"spec":{"taints":[{"key":"node.kubernetes.io/out-of-service","value":"nodeshutdown","effect":"NoExecute"}]}}' >/dev/null
within 2000 "out of service: what stayed is ended by force" 5 refuses k get pod alone
ok "an Event tells" shows 'TaintManagerEviction: Node node-3 has the taint node.kubernetes.io/out-of-service' events_of alone
"$minik8s" cluster start-node node-3 >/dev/null
ok "back again it ends the leftover" until_true 10 sh -c "[ \$('$minik8s' cluster podman node-3 ps --format '{{.Names}}' | grep -c m8_web_alone) = 0 ]"
k patch node node-3 -p '{"spec":{"taints":[]}}' >/dev/null
until_true 5 is_ready node-3

# --- 3. most nodes vanish at once: more likely the network ---
until_true 15 sh -c "[ \$($kubectl get pods --no-headers | grep -c ' 1/1 .*Running') = 4 ]"
before=$(containers) pods=$(k get pods -o 'jsonpath={.items[*].metadata.uid}')
"$minik8s" cluster cut-node node-2 >/dev/null & "$minik8s" cluster cut-node node-3 >/dev/null; wait $!
ok "two of three nodes are NotReady" until_true 5 sh -c "[ \$($kubectl get nodes --no-headers | grep -c NotReady) = 2 ]"
ok "an Event says why nobody is evicted" until_true 3 shows 'EvictionSuspended: 2 of 3 nodes are silent at once' events_of node-2
sleep 3
is "no pod was evicted" "$pods" "$(k get pods -o 'jsonpath={.items[*].metadata.uid}')"
"$minik8s" cluster heal-node node-2 >/dev/null
"$minik8s" cluster heal-node node-3 >/dev/null
since=$(now)
ok "healed: both are Ready" until_true 8 sh -c "[ \$($kubectl get nodes --no-headers | grep -c ' Ready') = 3 ]"
is "no container was restarted" "$before" "$(containers)"

# --- 4. everything of minik8s is killed at once, podman's services and resolvers too, while the Service is asked ---
start_load "load from node-1" 100 "$minik8s" cluster exec node-1 --
for pid in $(find "$MINIK8S_DIR" -name '*.pid' -path '*nodes*' -exec cut -d' ' -f1 {} +); do kill -KILL "$pid" 2>/dev/null; done
ok "killed and started" "$minik8s" cluster restart all --kill
serves() { podman_of "$1" version && on "$1" curl -sf -m 1 -o /dev/null http://web.default.svc.cluster.local/; }
for node in node-1 node-2 node-3; do ok "$node: podman answers, names are resolved" until_true 15 serves $node; done
end_load "load from node-1"
is "no container was restarted" "$before" "$(containers)"

# --- 5. files of an agent are damaged while it is down ---
"$minik8s" cluster exec node-2 -- true
pid=$(cut -d' ' -f1 "$MINIK8S_DIR/nodes/node-2/agent.pid")
kill -KILL "$pid"
for file in "$MINIK8S_DIR"/nodes/node-2/agent/pods/*.json; do truncate -s 20 "$file"; done
echo 'no json' >"$MINIK8S_DIR/nodes/node-2/agent/state.json"
ok "the agent starts with damaged files" "$minik8s" cluster restart agent node-2 --kill
ok "and says so" until_true 5 grep -q 'pod file left out' "$MINIK8S_DIR/nodes/node-2/agent.log"
ok "it is Ready" until_true 10 is_ready node-2
sleep 1
is "no container was restarted" "$before" "$(containers)"
