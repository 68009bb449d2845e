#!/usr/bin/env bash
# Where pods run, judged by what podman runs on each node: spreading, affinity, anti-affinity, which pods and nodes count for them,
# gates, priority with preemption, budgets that it spares, and the reason of each node for a pod that waits.
#uses: sed awk
. "$(dirname "$0")/lib.sh"
plan 61

start_cluster 3
nodes_of() { k get pods -l "app=$1" -o 'jsonpath={range .items[*]}{.spec.nodeName}{"\n"}{end}' | sort; }
waits() { [ "$(field pod "$1" '{.status.conditions[?(@.type=="PodScheduled")].reason}')" = Unschedulable ]; }
waiting() { k get pods "${@:2}" -l "app=$1" --no-headers | awk '$3 == "Pending" {print $1}' | head -1; } # APP [FLAG…]
told() { waits "$(waiting "$1")"; }
why() { field pod "$1" '{.status.conditions[?(@.type=="PodScheduled")].message}'; }

k apply -f manifests/scheduling/spread.yaml >/dev/null
ok "six spread pods are ready" until_true 30 ready_is even 6
is "two on each node" "2 2 2" "$(nodes_of even | uniq -c | awk '{print $1}' | xargs)"
running_of() { podman_of "$1" ps --format '{{.Names}}' | grep -c even; }
is "podman runs them there" "yes yes yes" "$(for node in node-1 node-2 node-3; do test "$(running_of $node)" -ge 2 && echo yes; done | xargs)"

k apply -f manifests/scheduling/affinity.yaml >/dev/null
ok "databases and caches are ready" until_true 30 sh -c "[ \"\$($kubectl get pods -l 'app in (db,cache)' --no-headers | grep -c ' Running ')\" = 4 ]"
is "no two databases share a node" 2 "$(nodes_of db | uniq | wc -l)"
is "each cache is beside a database" "" "$(comm -23 <(nodes_of cache | uniq) <(nodes_of db | uniq))"
k scale deployment db --replicas=4 >/dev/null
fourth() { waiting db; }
ok "the fourth database waits" until_true 10 sh -c "[ \"\$($kubectl get pods -l app=db --no-headers | grep -c Pending)\" = 1 ]"
ok "its reason is told" until_true 5 waits "$(fourth)"
is "as Kubernetes does" "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules." "$(why "$(fourth)")"
matches "describe shows each node's reason" "node-2 +node\(s\) didn't match pod anti-affinity rules" "$(k describe pod "$(fourth)")"
matches "describe shows who decided and the best three nodes" "node-[123] [0-9.]+ \(spread [0-9.]+" "$(k describe pod -l app=even)"
k delete deployment db cache even >/dev/null

# ---- which pods and which nodes count
ids() { # TEXT in the container's name: "node id" a line
    local node
    for node in node-1 node-2 node-3; do
        podman_of "$node" ps --no-trunc --format '{{.ID}} {{.Names}}' | awk -v text="$1" -v node="$node" 'index($2, text) {print node, $1}'
    done
}
per_node() { local node; for node in node-1 node-2 node-3; do ids "$1" | grep -c "^$node "; done | xargs; }
k label node node-1 topology.kubernetes.io/zone=a disk=ssd >/dev/null
k label node node-2 topology.kubernetes.io/zone=b disk=ssd >/dev/null
k apply -f manifests/scheduling/zones.yaml -f manifests/scheduling/tenants.yaml >/dev/null
sed 's/^    spec:$/&\n      nodeSelector: {kubernetes.io\/hostname: node-1}/' manifests/scheduling/revisions.yaml | k apply -f - >/dev/null
ok "minDomains: in two of three zones one pod each" until_true 20 running_is app=zoned 2
ok "the third waits" until_true 10 told zoned
is "and says why" "0/3 nodes are available: 2 node(s) didn't match pod topology spread constraints, 1 node(s) didn't match pod topology spread constraints (missing required label)." "$(why "$(waiting zoned)")"
k label node node-3 topology.kubernetes.io/zone=c >/dev/null
ok "with a node in a third zone it runs" until_true 20 ready_is zoned 3
is "one on each node" "1 1 1" "$(per_node zoned)"

node_of() { k get pods -n "$1" -l "app=$2" -o 'jsonpath={range .items[*]}{.spec.nodeName}{"\n"}{end}' | sort -u | xargs; } # NAMESPACE APP
available() { [ "$(k get deployment -n "$1" "$2" -o 'jsonpath={.status.availableReplicas}')" = "$3" ]; }
ok "namespaceSelector, matchLabelKeys: a tenant's workers run" until_true 20 available red-jobs worker 2
is "both beside its web server, in another namespace" "$(node_of red web)" "$(node_of red-jobs worker)"
ok "mismatchLabelKeys: the other tenant's runs" until_true 20 available blue web 1
ok "on another node" test "$(node_of blue web)" != "$(node_of red web)"
sed 's/blue/green/g' manifests/scheduling/tenants.yaml | k apply -f - >/dev/null
ok "a third tenant's takes the third node" until_true 20 available green web 1
is "so that each node has one" 3 "$(for tenant in red blue green; do node_of $tenant web; done | sort -u | wc -l)"
sed 's/blue/yellow/g' manifests/scheduling/tenants.yaml | k apply -f - >/dev/null
yellow() { k get pods -n yellow -o 'jsonpath={.items[0].status.conditions[?(@.type=="PodScheduled")].message}'; }
yellow_is() { [ "$(yellow)" = "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules." ]; }
ok "a fourth one's waits, and says why" until_true 10 yellow_is || note "$(yellow)"
k delete namespace yellow green blue red red-jobs --wait=false >/dev/null

spread_is() { [ "$(per_node fresh)" = "$1" ]; }
ok "matchLabelKeys: the old revision is all on one node" until_true 20 spread_is "3 0 0"
k apply -f manifests/scheduling/revisions.yaml >/dev/null
ok "the new one" k rollout status deployment fresh --timeout=30s
ok "is spread as if the old one were not there" until_true 20 spread_is "1 1 1" || note "$(per_node fresh)"

k cordon node-3 >/dev/null
k apply -f manifests/scheduling/usable-nodes.yaml >/dev/null
sed 's/honors/ignores/g; s/: Honor/: Ignore/' manifests/scheduling/usable-nodes.yaml | k apply -f - >/dev/null
ok "nodeTaintsPolicy Honor: a cordoned node does not count" until_true 20 ready_is honors-taints 3
is "two nodes have all three" "1 2 0" "$(per_node honors-taints | awk '{print ($1 < $2 ? $1 " " $2 : $2 " " $1) " " $3}')"
ok "nodeAffinityPolicy Honor: one that nodeSelector leaves out does not" until_true 20 ready_is honors-affinity 3
ok "Ignore: it counts, and no other may have a second" until_true 10 told ignores-taints
is "which is told" "0/3 nodes are available: 2 node(s) didn't match pod topology spread constraints, 1 node(s) were unschedulable." "$(why "$(waiting ignores-taints)")"
ok "two run" until_true 10 running_is app=ignores-taints 2
k uncordon node-3 >/dev/null
ok "uncordoned, it takes the third" until_true 20 ready_is ignores-taints 3
is "one on each node" "1 1 1" "$(per_node ignores-taints)"
left_out() { [ "$(why "$(waiting ignores-affinity)")" = "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 node(s) didn't match pod topology spread constraints." ]; }
ok "a node that is left out and counts: the third waits for ever, and says why" until_true 10 left_out || note "$(why "$(waiting ignores-affinity)")"
matches "describe shows the constraint" "nodeAffinityPolicy: +Ignore" "$(k describe pod "$(waiting ignores-affinity)")"
k delete deployment zoned fresh honors-taints honors-affinity ignores-taints ignores-affinity >/dev/null

k apply -f manifests/scheduling/gate.yaml >/dev/null
is "a gated pod says so" SchedulingGated "$(field pod gated '{.status.conditions[?(@.type=="PodScheduled")].reason}')"
is "and has no node" "" "$(field pod gated '{.spec.nodeName}')"
k patch pod gated --type=json -p '[{"op":"remove","path":"/spec/schedulingGates"}]' >/dev/null
ok "without its gate it runs" k wait --for=condition=Ready pod gated --timeout=90s
k delete pod gated >/dev/null

k apply -f manifests/scheduling/priority.yaml >/dev/null
cpu=$(field node node-1 '{.status.allocatable.cpu}')
cpu=$(case $cpu in *m) echo "${cpu%m}" ;; *) echo $((cpu * 1000)) ;; esac)
pod() { # NAME CLASS CPU
    k apply -f - >/dev/null <<END
apiVersion: v1
kind: Pod
metadata: {name: $1, labels: {app: $2}}
spec:
  terminationGracePeriodSeconds: 1
  priorityClassName: $2
  containers: [{name: c, image: localhost/m8-busybox:1, command: [sleep, infinity], resources: {requests: {cpu: ${3}m}}}]
END
}
for i in 1 2 3; do pod "filler-$i" filler $((cpu * 8 / 10)); done
ok "three fillers fill the nodes" k wait --for=condition=Ready pod -l app=filler --timeout=90s
is "their priority comes from the class" -10 "$(field pod filler-1 '{.spec.priority}')"
pod vip important $((cpu * 5 / 10))
ok "the important pod gets room" k wait --for=condition=Ready pod vip --timeout=90s
is "one filler went, two are there" 2 "$(k get pods -l app=filler --no-headers | wc -l)"
matches "an Event says for whom" "Preempted by pod default/vip on node node-" "$(k get events)"
matches "and it is on the node where room was made" "on node $(field pod vip '{.spec.nodeName}')\$" "$(k get events | grep Preempted)"

# ---- budgets that preemption spares
k apply -f manifests/scheduling/preemption.yaml >/dev/null
all_there() { ready_is precious 2 && ready_is patient 1; }
ok "two precious pods and a patient one hold the port of three nodes" until_true 20 all_there
precious=$(ids precious)
patient=$(k get pods -l app=patient -o 'jsonpath={.items[0].metadata.name}')
room=$(field pod "$patient" '{.spec.nodeName}')
k scale deployment urgent --replicas=1 >/dev/null
ok "an urgent one runs" until_true 20 ready_is urgent 1
is "where the patient one was, of higher priority than the precious ones" "$room" "$(nodes_of urgent)"
is "which a budget protects: their containers go on" "$precious" "$(ids precious)"
matches "an Event of the pod that went says for whom" "Preempted by pod default/urgent-[^ ]+ on node $room\$" "$(k get events --field-selector "involvedObject.name=$patient")"
ok "and none of a broken budget" refuses grep -q 'disruption budgets' <<<"$(k get events)"
k scale deployment urgent --replicas=2 >/dev/null
ok "a budget does not stop a second urgent one" until_true 20 ready_is urgent 2
is "one of the precious ones goes" 1 "$(ids precious | wc -l)"
matches "and an Event says so" "Nominated.*1 pod\(s\) of lower priority go, 1 more than disruption budgets allow" "$(k get events)"
k delete deployment precious patient urgent >/dev/null

matches "an unknown class is refused" 'no PriorityClass with name nothing was found' "$(pod bad nothing 1 2>&1)"
matches "a bad constraint is refused with its path" 'spec.topologySpreadConstraints\[0\].maxSkew' "$(k apply -f - 2>&1 <<END
apiVersion: v1
kind: Pod
metadata: {name: bad}
spec:
  topologySpreadConstraints: [{maxSkew: -1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]
  containers: [{name: c, image: i}]
END
)"
wrong=$(k apply -f - 2>&1 <<END
apiVersion: v1
kind: Pod
metadata: {name: bad}
spec:
  topologySpreadConstraints:
    - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, minDomains: 2, nodeTaintsPolicy: Maybe}
    - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, minDomains: -1, matchLabelKeys: [rev]}
  affinity:
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        - {topologyKey: zone, labelSelector: {matchLabels: {app: web}}, matchLabelKeys: [app]}
  containers: [{name: c, image: i}]
END
)
matches "minDomains of a wish" 'spec.topologySpreadConstraints\[0\].minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule' "$wrong"
matches "an unknown policy" 'spec.topologySpreadConstraints\[0\].nodeTaintsPolicy: Unsupported value: "Maybe": supported values: "Honor", "Ignore"' "$wrong"
matches "negative minDomains" 'spec.topologySpreadConstraints\[1\].minDomains: Invalid value: -1' "$wrong"
matches "matchLabelKeys of nothing" 'spec.topologySpreadConstraints\[1\].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set' "$wrong"
matches "a label asked for twice" 'spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution\[0\].matchLabelKeys\[0\]: Invalid value: "app": exists in both matchLabelKeys and labelSelector' "$wrong"
