#!/usr/bin/env bash
# A machine on another subnet, behind a router: its pods are reached through VXLAN, Services and names work across, packets leave
# room for the tunnel's header; `network: routes` says that it cannot; `network: vxlan` takes the tunnel everywhere.
#uses: awk sed md5sum
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/inspect.sh"
plan 18

start_cluster 2
machine=m8t-far-$$ router=m8t-router-$$ bare=$work/bare file=$work/bare/node.yaml agent=
clean_up() {
    [ -z "$agent" ] || kill -KILL "$agent" 2>/dev/null
    for pid in $(pgrep -f -- "$bare/"); do kill -KILL "$pid" 2>/dev/null; done
    ip netns del "$machine" 2>/dev/null
    ip netns del "$router" 2>/dev/null
    finish
}
trap clean_up EXIT

# --- the nodes' bridge (net N.0/24) — router — 10.201.7.0/24 with the machine ---
address=$(field node node-1 '{.status.addresses[0].address}')
bridge=$(ip -o route get "$address" | grep -o 'dev [^ ]*' | cut -d' ' -f2)
ip netns add "$router" && ip netns add "$machine"
ip link add m8t-router type veth peer name eth0 netns "$router"
ip link set m8t-router master "$bridge" up
ip link add eth0 netns "$machine" type veth peer name eth1 netns "$router"
for link in lo eth0 eth1; do ip -n "$router" link set $link up; done
ip -n "$router" address add "${address%.*}.78/24" dev eth0
ip -n "$router" address add 10.201.7.1/24 dev eth1
ip netns exec "$router" sysctl -qw net.ipv4.ip_forward=1
for link in lo eth0; do ip -n "$machine" link set $link up; done
ip -n "$machine" address add 10.201.7.2/24 dev eth0
ip -n "$machine" route add default via 10.201.7.1
for node in node-1 node-2; do on $node ip route add 10.201.7.0/24 via "${address%.*}.78"; done
mkdir "$bare"
sed "s|https://10.77.0.1:6443|https://$address:6443|; s|/var/lib/minik8s/node|$bare/dir|; s/name: worker-1 .*/name: far/; s/effect: NoSchedule/effect: PreferNoSchedule/" manifests/nodes/node.yaml >"$file"
token=$(k apply -f "$file" 2>/dev/null | sed -n 's/.*--token //p')
start_agent() {
    "$minik8s" node --config "$file" --netns "/run/netns/$machine" --images "$MINIK8S_DIR/images" "$@" >>"$bare/agent.log" 2>&1 &
    agent=$!
}
far() { ip netns exec "$machine" "$@"; }
ready() { [ "$(field node far '{.status.conditions[?(@.type=="Ready")].status}')" = True ]; }
start_agent --token "$token"
ok "a machine behind a router joins" until_true 20 ready
ok "auto: the others reach its pods through the tunnel" until_true 5 shows 'dev m8vx' on node-2 ip route
ok "and each other by plain routes" shows "^10.244.[0-9.]+/24 via ${address%.*}.[0-9]+ dev eth0" on node-2 ip route

# --- pods, Services and names across ---
pod() { # NAME NODE
    cat <<YAML
apiVersion: v1
kind: Pod
metadata: { name: $1, labels: { app: $1 } }
spec:
  nodeSelector: { kubernetes.io/hostname: $2 }
  terminationGracePeriodSeconds: 1
  containers:
    - { name: web, image: "localhost/m8-web:1", args: ["8080"] }
    - { name: files, image: "localhost/m8-busybox:1", command: [sh, -c, "head -c 60000 /dev/urandom > /tmp/file; httpd -f -p 9090 -h /tmp"] }
---
apiVersion: v1
kind: Service
metadata: { name: $1 }
spec: { selector: { app: $1 }, ports: [ { name: web, port: 80, targetPort: 8080 }, { name: files, port: 9090 } ] }
---
YAML
}
{ pod there far; pod here node-2; } | k apply -f - >/dev/null
ok "pods run on both sides" k wait --for=condition=Ready pod/there pod/here --timeout=90s
there=$(field pod there '{.status.podIP}') here=$(field pod here '{.status.podIP}')
gets() { k exec "$1" -c files -- timeout 3 wget -qO- "$2"; } # POD URL
carries() { [ "$(gets "$1" "$2" | md5sum)" = "$(k exec "$3" -c files -- cat /tmp/file | md5sum)" ]; } # 60 kB, TCP: never fragmented
ok "60 kB from pod to pod, one way" until_true 5 carries here "http://$there:9090/file" there
ok "and the other" until_true 5 carries there "http://$here:9090/file" here
ok "by Service and name, one way" until_true 5 carries here http://there:9090/file there
ok "and the other" until_true 5 carries there http://here.default.svc.cluster.local:9090/file here
# without NAT: the pod that is asked sees the address of the one that asks, also behind a Service
seen_at() { k exec "$1" -c files -- netstat -tn 2>/dev/null; }
slowly() { k exec "$1" -c files -- timeout 6 wget -qO- "$2" >/dev/null 2>&1 & }
slowly here "http://$there:8080/slow?ms=3000"
ok "the far pod sees the address of the one that asks" until_true 4 shows "$there:8080 +(::ffff:)?$here:" seen_at there
slowly there "http://here/slow?ms=3000"
ok "and through a Service too" until_true 4 shows "$here:8080 +(::ffff:)?$there:" seen_at here
mtu() { k exec "$1" -c files -- cat /sys/class/net/eth0/mtu; }
is "packets of pods that came after the tunnel leave room for its header" "1450 1450" "$(mtu there) $(mtu here)"
ok "a node reaches the far pod" on node-1 curl -sf -m 2 -o /dev/null "http://$there:8080/"
ok "exec and logs work across" shows . k logs there -c web

# --- a node port leads outsiders through the tunnel, and answers come back ---
k apply -f - >/dev/null <<'YAML'
{apiVersion: v1, kind: Service, metadata: {name: outside}, spec: {type: NodePort, selector: {app: there}, ports: [{port: 80, targetPort: 8080, nodePort: 30280}]}}
YAML
from_router() { ip netns exec "$router" curl -sf -m 1 -o /dev/null "http://$1:30280/"; }
ok "a node port whose pod is behind the tunnel answers an outsider" until_true 5 from_router "$address"
ok "and at the far node, whose pod it is" until_true 5 from_router 10.201.7.2

# --- the other ways ---
change() { sed -i "$1" "$file"; since=$(now); }
change 's/^network: auto/network: routes/'
ok "routes: an Event says that a router lies between" until_true 5 shows 'NoRouteToNode: .*behind a router' events_of far
change 's/^network: routes/network: vxlan/'
ok "vxlan: the tunnel is back" until_true 5 shows 'dev m8vx' far ip route
ok "and carries" until_true 5 carries there "http://$here:9090/file" here

# --- it leaves ---
k delete node far >/dev/null
wait "$agent"
agent=
