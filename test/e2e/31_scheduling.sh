#!/usr/bin/env bash
# Where pods run, judged by what podman runs on each node: spreading, affinity, anti-affinity, gates, priority with preemption, and
# the reason of each node for a pod that waits.
. "$(dirname "$0")/lib.sh"
plan 22

start_cluster 3
nodes_of() { k get pods -l "app=$1" -o 'jsonpath={range .items[*]}{.spec.nodeName}{"\n"}{end}' | sort; }
waits() { [ "$(field pod "$1" '{.status.conditions[?(@.type=="PodScheduled")].reason}')" = Unschedulable ]; }
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
fourth() { k get pods -l app=db --no-headers | awk '$3 == "Pending" {print $1}' | head -1; }
ok "the fourth database waits" until_true 10 sh -c "[ \"\$($kubectl get pods -l app=db --no-headers | grep -c Pending)\" = 1 ]"
ok "its reason is told" until_true 5 waits "$(fourth)"
is "as Kubernetes does" "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules." "$(why "$(fourth)")"
matches "describe shows each node's reason" "node-2 +node\(s\) didn't match pod anti-affinity rules" "$(k describe pod "$(fourth)")"
matches "describe shows who decided and the best three nodes" "node-[123] [0-9.]+ \(spread [0-9.]+" "$(k describe pod -l app=even)"
k delete deployment db cache even >/dev/null

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
