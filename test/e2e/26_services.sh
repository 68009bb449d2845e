#!/usr/bin/env bash
# Services and ports of nodes, from manifests/services: judged by real connections from other nodes, pods and the nodes themselves,
# by the kernel's tables and by names.
#uses: awk curl ip nft nsenter
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/inspect.sh"
plan 126

start_cluster 2
node() { field node "$1" '{.status.addresses[?(@.type=="InternalIP")].address}'; }
n1=$(node node-1) n2=$(node node-2)
ask() { on "$1" curl -s -m 2 "$2"; } # NODE URL
who() { ask "$1" "$2" | sed -n 's/.*pod=\([^ ]*\).*/\1/p'; }
refused() { on "$1" curl -s -m 2 -o /dev/null "$2"; [ $? = 7 ]; } # at once, not by waiting
silent() { ! on "$1" curl -s -m 1 -o /dev/null "$2"; }
apply() { k apply -f "manifests/services/$1.yaml" >/dev/null; }
echo_udp() { k exec "$1" -- udp "$2" "$3" hello 2>&1; } # POD ADDRESS PORT
elements() { on "$1" nft list map ip minik8s services | grep -c "$2"; } # NODE PATTERN
agent_killed() { "$minik8s" cluster restart agent "$1" --kill; }

# ---- hostPort
k apply -f manifests/demo/toolbox.yaml >/dev/null
apply host-port
ok "host-port: the pod is ready" k wait --for=condition=Ready pod/host-port pod/toolbox-node-1 pod/toolbox-node-2 --timeout=90s
is "from another node" host-port "$(who node-1 http://$n2:8088/)"
is "from the node itself, by its address" host-port "$(who node-2 http://$n2:8088/)"
is "from the node itself, at 127.0.0.1" host-port "$(who node-2 http://127.0.0.1:8088/)"
is "from a pod of another node" host-port "$(k exec toolbox-node-1 -- timeout 2 wget -qO- "http://$n2:8088/" | sed -n 's/pod=\([^ ]*\).*/\1/p')"
is "from a pod of the same node" host-port "$(k exec toolbox-node-2 -- timeout 2 wget -qO- "http://$n2:8088/" | sed -n 's/pod=\([^ ]*\).*/\1/p')"
matches "UDP, from another node's pod" hello "$(echo_udp toolbox-node-1 "$n2" 8088)"
is "hostIP 127.0.0.1: on the node" host-port "$(who node-2 http://127.0.0.1:8089/)"
ok "hostIP 127.0.0.1: nowhere else" refused node-1 "http://$n2:8089/"
ok "the other node does not have the port" refused node-1 "http://$n1:8088/"
# route_localnet, which 127.0.0.1 needs, must not open to pods what the node keeps to its loopback.
from_pod() { nsenter -t "$(pid_of toolbox-node-2 busybox)" -n "$@"; }
gateway=$(from_pod ip route | awk '/^default/ {print $3}')
from_pod ip route del table local local 127.0.0.1 dev lo
from_pod ip route del table local local 127.0.0.0/8 dev lo
from_pod sh -c 'echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet' # it would even hear the answer
from_pod ip route add 127.0.0.1/32 via "$gateway" dev eth0 onlink src "$(field pod toolbox-node-2 '{.status.podIP}')"
is "a pod that sends to the node's loopback is not heard" 28 "$(from_pod curl -s -m 1 -o /dev/null http://127.0.0.1:8088/; echo $?)"
ok "the agent is killed and started" agent_killed node-2
is "the port answers all the while" host-port "$(who node-1 http://$n2:8088/)"
until_true 10 k exec toolbox-node-2 -- true
is "… and after the agent has looked at everything" host-port "$(who node-1 http://$n2:8088/)"

sed 's/name: host-port/name: second/' manifests/services/host-port.yaml | k apply -f - >/dev/null
ok "a second pod for the port of this node waits" until_true 5 shows "free ports for the requested pod ports" events_of second
k delete pod second --grace-period=0 >/dev/null

# ---- a node port of the same number wins
k apply -f - >/dev/null <<'YAML'
{apiVersion: v1, kind: Service, metadata: {name: wins}, spec: {type: NodePort, selector: {app: none}, ports: [{port: 80, nodePort: 30088}]}}
YAML
sed 's/name: host-port/name: loses/; s/hostPort: 8088/hostPort: 30088/; s/hostPort: 8089/hostPort: 30089/' manifests/services/host-port.yaml | k apply -f - >/dev/null
ok "a Service's nodePort wins: the pod has an Event" until_true 10 shows "HostPortConflict: .*30088/TCP is the node port of Service default/wins" events_of loses
k wait --for=condition=Ready pod/loses --timeout=90s >/dev/null
ok "… the port is the Service's, which has no endpoint" refused node-1 "http://$n2:30088/"
matches "… UDP of that number is the pod's" hello "$(echo_udp toolbox-node-1 "$n2" 30088)"
k delete service wins >/dev/null
is_of() { [ "$(who node-1 "http://$n2:$1/")" = "$2" ]; }
ok "once the Service is gone the pod has it" until_true 5 is_of 30088 loses
k delete pod loses --grace-period=0 >/dev/null

# ---- the end of the pod is the end of its ports
k delete pod host-port >/dev/null
ok "deleted: refused" until_true 3 refused node-1 "http://$n2:8088/"
is "… and no rule is left" 0 "$(elements node-2 8088)"

# ---- Services: addresses, ports, names
k apply -f manifests/services/ >/dev/null
ok "applied again, nothing changes" refuses grep -v unchanged <<<"$(k apply -f manifests/services/ 2>&1)"
ok "shop: three pods are ready" k rollout status deployment shop --timeout=90s
ip_of() { field service "$1" '{.spec.clusterIP}'; }
some() { local i; for i in $(seq "$3"); do who "$1" "$2"; done; } # NODE URL TIMES: who answered
different() { some "$@" | sort -u | grep -c .; }
reaches_all() { [ "$(different "$1" "$2" 20)" = 3 ]; }
ip=$(ip_of shop)
matches "get svc: address and ports" "shop +ClusterIP +$ip +<none> +80/TCP,80/UDP,8080/TCP" "$(k get svc shop)"
told=$(k describe svc shop)
matches "describe svc: selector" 'Selector: +app=shop' "$told"
matches "… address" "IP: +$ip" "$told"
matches "… ports" 'Port: +echo 80/UDP -> echo' "$told"
for address in $(k get pods -l app=shop -o 'jsonpath={.items[*].status.podIP}'); do matches "… endpoint $address" "Endpoints: .*$address:8080" "$told"; done
matches "… how it is balanced, and who says so" 'Balance: +random \(policy random@[0-9a-f]{8}\)' "$told"
ok "all three answer" until_true 5 reaches_all node-1 "http://$ip/"
k create namespace elsewhere >/dev/null
sed '/^---$/,$d; s/name: toolbox-node-1/name: far/' manifests/demo/toolbox.yaml | k apply -n elsewhere -f - >/dev/null
k wait -n elsewhere --for=condition=Ready pod/far --timeout=60s >/dev/null
for pod in toolbox-node-1 toolbox-node-2; do
    for name in shop shop.default shop.default.svc shop.default.svc.cluster.local; do
        matches "$pod, $name: TCP" 'pod=shop' "$(k exec $pod -- timeout 2 wget -qO- "http://$name/")"
        matches "… UDP" hello "$(echo_udp $pod $name 80)"
    done
done
matches "from another namespace by the namespace's form" 'pod=shop' "$(k exec -n elsewhere far -- timeout 2 wget -qO- http://shop.default/)"
ok "… and not by the short one" refuses k exec -n elsewhere far -- timeout 2 wget -qO- http://shop/
k delete namespace elsewhere --wait=false >/dev/null
matches "a port without targetPort" 'pod=shop' "$(ask node-2 "http://$ip:8080/")"
for node in $n1 $n2; do
    matches "NodePort at $node, TCP" 'pod=shop' "$(ask node-1 "http://$node:30180/")"
    matches "NodePort at $node, UDP" hello "$(echo_udp toolbox-node-1 "$node" 30180)"
done
matches "ExternalName of a Service: the same pods by another name" 'pod=shop' "$(k exec toolbox-node-2 -- timeout 2 wget -qO- http://shop-alias/)"
far_away() { grep -q ^127.0.0.1 <<<"$(on node-2 getent ahostsv4 shop-far-away.default.svc.cluster.local)"; }
ok "ExternalName of a name from outside" until_true 5 far_away
matches "get svc: the external name" 'shop-alias +ExternalName +<none> +shop.default.svc.cluster.local' "$(k get svc shop-alias)"
matches "externalIPs: from a node" 'pod=shop' "$(ask node-1 http://198.51.100.7/)"
matches "externalIPs: from a pod" 'pod=shop' "$(k exec toolbox-node-2 -- timeout 2 wget -qO- http://198.51.100.7/)"
matches "get svc: external address" '198.51.100.7' "$(k get svc shop-outside)"

# ---- LoadBalancer
matches "LoadBalancer: pending, no node port" 'LoadBalancer +[0-9.]+ +<pending> +80/TCP' "$(k get svc shop-balancer)"
k patch service shop-balancer --subresource=status --type=merge -p '{"status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.9"}]}}}' >/dev/null
balanced() { grep -q pod=shop <<<"$(ask node-1 http://203.0.113.9/)"; }
ok "the address that it was given leads to it" until_true 5 balanced

# ---- balance
counts() { some "$@" | sort | uniq -c | awk '{print $1}' | sort -n | tr '\n' ' '; }
is "round-robin by annotation: six requests, two for each" "2 2 2 " "$(counts node-1 "http://$(ip_of shop-in-turn)/" 6)"
is "source-hash by annotation: one client, one pod" 1 "$(different node-2 "http://$(ip_of shop-by-client)/" 8)"
k policy use balance round-robin >/dev/null
in_turn() { [ "$(counts "${1:-node-1}" "http://$ip/" 6)" = "2 2 2 " ]; } # [NODE]
ok "policy use balance round-robin: a Service without an annotation follows" until_true 10 in_turn
matches "describe svc says who decided" 'Balance: +round-robin \(policy round-robin@[0-9a-f]{8}\)$' "$(k describe svc shop)"
heavy=$(k get pods -l app=shop -o 'jsonpath={.items[0].metadata.name}')
k label pod "$heavy" minik8s.io/weight=20 >/dev/null
k policy use balance weighted >/dev/null
weighs() { [ "$(some node-1 "http://$ip/" 22 | grep -c "$heavy")" -ge 15 ]; }
ok "policy weighted: the pod that weighs 20 gets most of 22 requests" until_true 10 weighs
matches "… and why" "Balance: +random \\(policy weighted@[0-9a-f]{8}\\): $heavy weighs 20" "$(k describe svc shop)"
decided() { k policy log --point=balance --object=default/shop --kind=Service -o json | jq -e ".decisions | any($1)"; }
ok "the nodes' decisions are in the record" until_true 5 decided ".result.weights[\"$heavy\"] == 20 and (.by | startswith(\"weighted@\"))"
k policy use balance nearby >/dev/null
stays() { local node; for node in node-1 node-2; do [ "$(some $node "http://$ip/" 22 | grep -cF -f <(k get pods -l app=shop --field-selector "spec.nodeName=$node" -o name | cut -d/ -f2))" -ge 18 ] || return 1; done; }
ok "policy nearby: from each node to its own pods" until_true 10 stays
matches "describe svc: each node for itself" 'Balance: +random \(policy nearby.*: [12] of 3 are here on node-[12]$' "$(k describe svc shop)"
k policy use balance random >/dev/null
# Without a manager: the nodes follow the objects by themselves, and what they knew last lies on their disks.
read -r manager _ <"$MINIK8S_DIR/server/manager.pid"
kill -STOP "$manager"
k apply -f - >/dev/null <<'POLICY'
apiVersion: minik8s.io/v1
kind: Policy
metadata: {name: ours}
spec:
  point: balance
  source: |
    return { api = 1, point = "balance", name = "ours", run = function(ctx) return { mode = "round-robin", reasons = { "ours" } } end,
             examples = { { ctx = { endpoints = {} }, expect = { mode = "round-robin" } } } }
POLICY
k get policyprofile cluster -o json | jq '(.spec.points[] | select(.point == "balance").policies) = [{name: "ours"}]' | k replace -f - >/dev/null
ok "without a manager: a policy of this cluster" until_true 10 in_turn
ok "… on the other node, too" until_true 10 in_turn node-2
ok "it is on the node's disk" grep -q '"ours"' "$MINIK8S_DIR/nodes/node-1/agent/policies.json"
agent_killed node-1
says() { grep -qE "$1" <<<"$(k describe svc shop)"; }
ok "the agent begins again: as before" until_true 10 says 'Balance: +round-robin \(policy ours@[0-9a-f]{8}\): ours'
ok "… by the kernel, too" until_true 10 in_turn
kill -CONT "$manager"
everywhere() { grep -qE '^balance +ours .* Active +2/2$' <<<"$(k policy list)"; }
ok "policy list: it decides on both nodes" until_true 10 everywhere
k patch policy ours --type=merge -p "$(jq -Rs '{spec: {source: .}}' <<<'return { api = 1, point = "balance", name = "ours", run = function(ctx) if ctx.node then while true do end end return { mode = "round-robin" } end, examples = { { ctx = { endpoints = {} }, expect = { mode = "round-robin" } } } }')" >/dev/null
ok "one that never ends: the default decides" until_true 10 says 'Balance: +random'
ok "… and an Event on the node tells" until_true 5 shows 'PolicyFailed: ours@[0-9a-f]{8} of balance: .*; the shipped default decided instead' events_of node-1
k policy use balance random >/dev/null
k delete policy ours >/dev/null

# ---- session affinity
sticky=$(ip_of shop-sticky)
is "sessionAffinity: one client, one pod" 1 "$(different node-1 "http://$sticky/" 8)"
remembered() { grep -q "$sticky" <<<"$(on node-1 nft list map ip minik8s affinity)"; }
ok "it is remembered" remembered
ok "… until it has been silent for timeoutSeconds" until_true 4 refuses remembered

# ---- pods with other ports, and without
other() { # NAME PORT READINESS-PORT
    sed -n '/^      containers:/,$s/^    //p' manifests/services/pods.yaml | sed "s/8080/$2/; s/port: http/port: $3/; s/httpGet/tcpSocket/; /path:/d" |
        cat <(printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: %s, labels: {app: shop}}\nspec:\n  terminationGracePeriodSeconds: 0\n' "$1") - | k apply -f - >/dev/null
}
other shop-elsewhere 9090 http
has_elsewhere() { grep -q shop-elsewhere <<<"$(some node-1 "http://$ip/" 12)"; }
ok "a named targetPort is looked up in each pod" until_true 10 has_elsewhere
other shop-late 8080 1
late() { field pod shop-late '{.status.podIP}'; }
until_true 10 sh -c "[ -n \"\$('$kubectl' get pod shop-late -o jsonpath={.status.podIP})\" ]"
named() { grep -q "$(late)" <<<"$(k exec toolbox-node-1 -- nslookup shop-members.default.svc.cluster.local)"; }
ok "publishNotReadyAddresses: the name has a pod that is not ready" until_true 5 named
ok "… other Services do not" refuses grep -qF "$(late):" <<<"$(k describe svc shop)"
k apply -f - >/dev/null <<<'{apiVersion: v1, kind: Service, metadata: {name: nowhere}, spec: {selector: {app: shop}, ports: [{port: 80, targetPort: nothing}]}}'
ok "an unknown targetPort is told" until_true 5 shows 'UnknownTargetPort: targetPort "nothing" is no port name of pod shop' events_of nowhere
ok "… and refuses" refused node-1 "http://$(ip_of nowhere)/"
k delete pod shop-elsewhere shop-late >/dev/null
k delete service nowhere >/dev/null

# ---- UDP: flows that go on leave an endpoint that died
cat >"$work/flows" <<'FLOWS'
for i in 0 1 2 3 4 5 6 7 8 9; do exec {fd[i]}<>"/dev/udp/$1/80"; done
until [ -e "$2" ]; do
    for f in "${fd[@]}"; do
        { echo x >&"$f" && read -r -N 1 -t 0.3 -u "$f"; } 2>/dev/null || echo $((${EPOCHREALTIME/./} / 1000))
    done
    sleep 0.02
done
FLOWS
on node-1 timeout 20 bash "$work/flows" "$ip" "$work/enough" >"$work/failed" &
# A machine that stands still for 0.3 s is no lost flow: half a second, about 25 turns of each, without a failure counts.
answered() { local before; before=$(wc -l <"$work/failed"); sleep 0.5; [ "$(wc -l <"$work/failed")" = "$before" ]; }
ok "UDP: ten flows answer" until_true 5 answered
since=$(now)
k delete pod "$heavy" --grace-period=0 --force >/dev/null 2>&1
sleep 2.5
touch "$work/enough"
wait $!
last=$(tail -n 1 "$work/failed")
ok "UDP: within 1 s every flow has another endpoint ($([ -z "$last" ] || echo "last failure after $((last - since)) ms"))" test $((${last:-0} - since)) -lt 1000

# ---- an alias follows; a name that nobody knows is told
k apply -f - >/dev/null <<<'{apiVersion: v1, kind: Service, metadata: {name: lost}, spec: {type: ExternalName, externalName: nowhere.invalid}}'
ok "ExternalName that cannot be found: an Event" until_true 15 shows 'ExternalNameNotFound: nowhere.invalid' events_of lost
k patch service shop-alias --type=merge -p '{"spec":{"externalName":"shop-outside.default.svc.cluster.local"}}' >/dev/null
alias_is() { grep -q "^$1 " <<<"$(on node-1 getent ahostsv4 shop-alias.default.svc.cluster.local)"; }
ok "ExternalName: the new target's address" until_true 7 alias_is "$(ip_of shop-outside)"
k delete service lost >/dev/null

# ---- others take the node's network away: the agent brings it back
ok "all of shop answer" until_true 8 reaches_all node-1 "http://$ip/"
on node-1 nft flush ruleset
ok "the rules are flushed (restart of nftables): Services answer again" until_true 8 reaches_all node-1 "http://$ip/"
ok "… ports of the node, too" until_true 8 reaches_all node-2 "http://$n1:30180/"
reaches_from_pod() { grep -q pod= <<<"$(k exec toolbox-node-1 -- timeout 2 wget -qO- "http://$ip/")"; }
on node-1 sh -c 'way=$(ip route show default); ip link set eth0 down; ip link set eth0 up; [ -z "$way" ] || ip route add $way'
ok "the link is taken down and up: pods of other nodes are reached" until_true 8 reaches_all node-1 "http://$ip/"
on node-1 sh -c "set -- \$(ip -o -4 address show dev eth0); way=\$(ip route show default); ip address del \$4 dev eth0; ip address add \$4 dev eth0; [ -z \"\$way\" ] || ip route add \$way"
ok "the address goes and comes (a new lease): the node reaches all pods" until_true 8 reaches_all node-1 "http://$ip/"
ok "… and its pods reach others" until_true 8 reaches_from_pod

# ---- nobody there: refused at once; gone: nothing is left
k scale deployment shop --replicas=0 >/dev/null
for url in "http://$ip/" "http://$n2:30180/" http://198.51.100.7/; do ok "no endpoint: $url refuses" until_true 8 refused node-1 "$url"; done
matches "… and UDP" 'refused|not permitted' "$(echo_udp toolbox-node-1 shop 80)"
sticky_port=$(ip_of shop-sticky)
k delete -f manifests/services/ --ignore-not-found >/dev/null
none_left() { ! grep -qE "$ip |$sticky_port |30180|198.51.100.7|203.0.113.9" <<<"$(on "$1" nft list map ip minik8s services)"; }
for node in node-1 node-2; do ok "deleted: $node has none of their rules" until_true 5 none_left $node; done
no_names() { ! ls "$MINIK8S_DIR/nodes/$1/network/names" | grep -E '(^|2f)shop'; }
for node in node-1 node-2; do ok "… $node has none of their names" until_true 5 no_names $node; done

# ---- what is refused, with the field
said() { k apply -f - 2>&1 <<<"$1"; }
pod() { echo "{apiVersion: v1, kind: Pod, metadata: {name: bad}, spec: {containers: [{name: c, image: i, ports: [$1]}]}}"; }
matches "a hostPort that is too large" 'spec.containers\[0\].ports\[0\].hostPort.*65535' "$(said "$(pod '{containerPort: 80, hostPort: 70000}')")"
matches "a hostPort for SCTP" 'spec.containers\[0\].ports\[0\].hostPort: Forbidden: .*SCTP' "$(said "$(pod '{containerPort: 80, hostPort: 80, protocol: SCTP}')")"
matches "a hostIP that is no IPv4 address" 'spec.containers\[0\].ports\[0\].hostIP.*IPv4' "$(said "$(pod '{containerPort: 80, hostPort: 80, hostIP: "::1"}')")"
service() { echo "{apiVersion: v1, kind: Service, metadata: {name: bad${2:+, $2}}, spec: {$1}}"; }
refuses_service() { matches "refused: $1" "$2" "$(said "$(service "$3" "${4:-}")")"; }
refuses_service "SCTP" 'spec.ports\[0\].protocol: Unsupported value: "SCTP"' 'ports: [{port: 80, protocol: SCTP}]'
refuses_service "a negative port" 'spec.ports\[0\].port: Invalid value: -1' 'ports: [{port: -1}]'
refuses_service "a port that is too large" 'spec.ports\[0\].port: Invalid value: 70000' 'ports: [{port: 70000}]'
refuses_service "a targetPort that is too large" 'spec.ports\[0\].targetPort: Invalid value: 70000' 'ports: [{port: 80, targetPort: 70000}]'
refuses_service "two ports of one name" 'spec.ports\[1\].name: Duplicate value: "a"' 'ports: [{name: a, port: 80}, {name: a, port: 81}]'
refuses_service "one port twice" 'spec.ports\[1\]: Duplicate value' 'ports: [{name: a, port: 80}, {name: b, port: 80}]'
refuses_service "two ports without names" 'spec.ports\[0\].name: Required value' 'ports: [{port: 80}, {port: 81}]'
refuses_service "a node port outside of the range" 'spec.ports\[0\].nodePort: Invalid value: 80' 'type: NodePort, ports: [{port: 80, nodePort: 80}]'
k create service nodeport holder --tcp=80:80 --node-port=30555 >/dev/null 2>&1 || k apply -f - >/dev/null <<<'{apiVersion: v1, kind: Service, metadata: {name: holder}, spec: {type: NodePort, ports: [{port: 80, nodePort: 30555}]}}'
refuses_service "a node port of another Service" 'spec.ports\[0\].nodePort: Invalid value: 30555: provided port is already allocated' 'type: NodePort, ports: [{port: 80, nodePort: 30555}]'
refuses_service "a clusterIP outside of the range" 'spec.clusterIPs: .*10.1.2.3: the provided IP is not in the valid range' 'clusterIP: 10.1.2.3, ports: [{port: 80}]'
refuses_service "a clusterIP of another Service" 'spec.clusterIPs: .*already allocated' "clusterIP: $(field service holder '{.spec.clusterIP}'), ports: [{port: 80}]"
refuses_service "an externalIP that is the loopback" 'spec.externalIPs\[1\]: Invalid value: "127.0.0.1": may not be in the loopback range' 'externalIPs: [198.51.100.7, 127.0.0.1], ports: [{port: 80}]'
refuses_service "an externalIP that is none" 'spec.externalIPs\[0\]: Invalid value: "here"' 'externalIPs: [here], ports: [{port: 80}]'
refuses_service "allocateLoadBalancerNodePorts elsewhere" 'spec.allocateLoadBalancerNodePorts: Forbidden' 'allocateLoadBalancerNodePorts: false, ports: [{port: 80}]'
refuses_service "an ExternalName without a name" 'spec.externalName: Required value' 'type: ExternalName'
refuses_service "an ExternalName that is no name" 'spec.externalName: Invalid value: "a_b"' 'type: ExternalName, externalName: a_b'
refuses_service "an unknown balance" 'metadata.annotations.minik8s.io/balance: Invalid value: "best"' 'ports: [{port: 80}]' 'annotations: {minik8s.io/balance: best}'
