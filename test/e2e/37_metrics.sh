#!/usr/bin/env bash
# What is used: `top` and metrics.k8s.io compared with the kernel's own counters, the agents' /stats/summary and /metrics through
# the API server, who may ask, and that nothing is measured while nobody asks.
#uses: kill
. "$(dirname "$0")/lib.sh"
plan 33
start_cluster

usage() { k get --raw "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/$1"; }
summary() { k get --raw "/api/v1/nodes/$1/proxy/stats/summary"; }
rounds() { k get --raw /metrics | awk '$1 == "minik8s_usage_rounds_total" {print $2}'; }
counter_dir() { # CONTROLLER POD-UID CONTAINER-ID: the container's cgroup, v2 or v1
    local base=/sys/fs/cgroup
    [ -e $base/cgroup.controllers ] || base=$base/$1
    find "$base/minik8s" -type d -path "*pod$2/libpod-$3*" -prune 2>/dev/null | head -n 1
}
cpu_ns() { # CGROUP
    if [ -e "$1/cpu.stat" ] && grep -q usage_usec "$1/cpu.stat"; then awk '$1 == "usage_usec" {print $2 * 1000}' "$1/cpu.stat"; else cat "$1/cpuacct.usage"; fi
}
working_set() { # CGROUP, in KiB
    if [ -e "$1/memory.current" ]; then
        echo $((($(cat "$1/memory.current") - $(awk '$1 == "inactive_file" {print $2}' "$1/memory.stat")) / 1024))
    else
        echo $((($(cat "$1/memory.usage_in_bytes") - $(awk '$1 == "total_inactive_file" {print $2}' "$1/memory.stat")) / 1024))
    fi
}
near() { awk -v a="$1" -v b="$2" -v part="$3" -v slack="$4" 'BEGIN {d = a - b; if (d < 0) d = -d; exit !(d <= b * part / 100 + slack)}'; }

k apply -f manifests/autoscale/web.yaml >/dev/null
k apply -f - >/dev/null <<END
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - {name: shell, image: localhost/m8-busybox:1, command: [sh, -c, "head -c 3000000 /dev/zero >/written; sleep infinity"]}
    - {name: idle, image: localhost/m8-busybox:1, command: [sleep, infinity]}
END
ok "the web server runs" k rollout status deployment burner --timeout=90s
ok "the client runs" k wait --for=condition=Ready pod/client --timeout=90s
pod=$(k get pods -l app=burner -o 'jsonpath={.items[0].metadata.name}')
uid=$(field pod "$pod" '{.metadata.uid}') node=$(field pod "$pod" '{.spec.nodeName}')
id=$(field pod "$pod" '{.status.containerStatuses[0].containerID}')
cpu=$(counter_dir cpuacct "$uid" "${id##*/}") memory=$(counter_dir memory "$uid" "${id##*/}")
ok "its cgroup is there" test -n "$cpu" -a -n "$memory"

# --- CPU and memory against the kernel ---
k exec client -c shell -- wget -qO /dev/null "http://burner/alloc?mb=40" || note "alloc failed"
(k exec client -c shell -- wget -qO /dev/null "http://burner/burn?ms=2500" >/dev/null 2>&1) &
burning=$!
usage "$pod" >"$work/before" # the first look
c1=$(cpu_ns "$cpu") t1=$(now)
sleep 1.6
usage "$pod" >"$work/after"
c2=$(cpu_ns "$cpu") t2=$(now)
told=$(jq -r '.containers[0].usage.cpu' "$work/after") counted=$(((c2 - c1) / (t2 - t1) * 1000))
ok "CPU as the cgroup counts it: ${told%n} told, $counted n counted" near "${told%n}" "$counted" 25 20000000
ok "it is a load" test "$counted" -gt 100000000
told=$(jq -r '.containers[0].usage.memory' "$work/after") counted=$(working_set "$memory")
ok "memory as the cgroup counts it: ${told%Ki} told, $counted Ki counted" near "${told%Ki}" "$counted" 2 1024
ok "the 40 MiB are in it" test "${told%Ki}" -gt 40000
matches "the window is told" '^1\.[0-9]+s$|^2\.[0-9]+s$' "$(jq -r .window "$work/after")"
wait $burning

# --- top ---
matches "top node" '^NAME +CPU\(cores\) +CPU\(%\) +MEMORY\(bytes\) +MEMORY\(%\)$' "$(k top node | head -n 1)"
is "top node: all nodes" "node-1 node-2 node-3" "$(k top node --no-headers | awk '{print $1}' | xargs)"
ok "top node: the busy one uses its pod's memory" test "$(k top node "$node" --no-headers | awk '{print $4 + 0}')" -ge 40
matches "top pod" "^$pod +[0-9]+m +4[0-9]Mi" "$(k top pod "$pod")"
is "top pod --containers" "client idle client shell" "$(k top pod client --containers --no-headers | awk '{print $1, $2}' | sort | xargs)"
is "top pod -l" client "$(k top pod -l app=client --no-headers | awk '{print $1}')"
is "top pod --sort-by=memory: the big one first" "$pod" "$(k top pod --sort-by=memory --no-headers | awk 'NR == 1 {print $1}')"
matches "top pod -A" "^default +$pod +[0-9]+m +[0-9]+Mi" "$(k top pod -A)"
matches "a pod that is not there" 'NotFound.*"none" not found' "$(k top pod none 2>&1)"
matches "top of nonsense" 'node.*pod' "$(k top tree 2>&1)"
matches "a table by get" "^$pod +[0-9]+n +4[0-9]+Ki" "$(k get pods.metrics.k8s.io)"
is "discovery: read only" "get list" "$(k get --raw /apis/metrics.k8s.io/v1beta1 | jq -r '.resources[] | select(.name == "pods") | .verbs | join(" ")')"
matches "nobody writes them" 'does not allow this method' "$(k delete pods.metrics.k8s.io "$pod" 2>&1)"

# --- the whole summary: network and files ---
where=$(field pod client '{.spec.nodeName}')
client_pid=$(podman_of "$where" inspect --format '{{.State.Pid}}' "$(podman_of "$where" ps -q --filter name=m8_shell_client)")
summary "$where" | jq '.pods[] | select(.podRef.name == "client")' >"$work/client"
received=$(awk '$1 == "eth0:" {print $2}' "/proc/$client_pid/net/dev")
ok "network as the pod's namespace counts it" near "$(jq .network.rxBytes "$work/client")" "$received" 0 2000
ok "bytes were received" test "$received" -gt 500
ok "files written into the layer" near "$(jq '.containers[] | select(.name == "shell") | .rootfs.usedBytes' "$work/client")" 3000000 5 100000
ok "nothing by the other container" test "$(jq '.containers[] | select(.name == "idle") | .rootfs.usedBytes' "$work/client")" -lt 100000
ok "the node's file system" test "$(summary "$where" | jq .node.fs.capacityBytes)" -gt 100000000

# --- /metrics, and who may ask ---
matches "an agent's own figures" '^process_resident_memory_bytes [0-9]{7}' "$(k get --raw /api/v1/nodes/node-2/proxy/metrics)"
matches "the server's requests" '^minik8s_api_requests_total\{verb="get",code="2xx"\} [0-9]' "$(k get --raw /metrics)"
address=$(k get node node-2 -o 'jsonpath={.status.addresses[?(@.type=="InternalIP")].address}')
is "the agent lets no stranger in" 401 "$(on node-1 curl -sk -o /dev/null -w '%{http_code}' "https://$address:10250/stats/summary")"

# --- idle: nothing periodic ---
before=$(rounds)
ok "rounds were counted" test "$before" -ge 2
sleep 3
is "nobody asks: nobody measures" "$before" "$(rounds)"

# --- a server that dies, a node that is gone ---
kill -9 "$(cut -d' ' -f1 "$MINIK8S_DIR/server/server.pid")"
"$minik8s" cluster restart server >/dev/null
ok "after SIGKILL of the server top works again" until_true 10 k top pod "$pod"
"$minik8s" cluster stop-node node-3 >/dev/null
gone() { [ "$(k top node --no-headers | awk '{print $1}' | xargs)" = "node-1 node-2" ]; }
ok "a node that is cut off is left out" until_true 25 gone
