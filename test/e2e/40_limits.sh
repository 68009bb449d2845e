#!/usr/bin/env bash
# CPU and memory limits stand in the kernel's cgroup files and work: the CPU is throttled, and too much memory ends the container
# as OOMKilled, which is restarted, while its neighbour in the pod runs on.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/inspect.sh"
plan 17

start_cluster 1
k apply -f - >/dev/null <<'END'
apiVersion: v1
kind: Pod
metadata: {name: limited}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: web
      image: localhost/m8-web:1
      resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {cpu: 200m, memory: 48Mi}}
    - name: beside
      image: localhost/m8-busybox:1
      command: [sleep, infinity]
      resources: {requests: {cpu: 250m, memory: 8Mi}}
END
ok "a pod with limits is ready" k wait --for=condition=Ready pod limited --timeout=90s
is "its class" Burstable "$(field pod limited '{.status.qosClass}')"

quota() { # of 100 ms
    local text
    text=$(cgroup_file limited "$1" cpu cpu.cfs_quota_us cpu.max)
    echo "${text%% *}"
}
is "200m are 20 ms of every 100 ms" 20000 "$(quota web)"
matches "no limit is no quota" '^(-1|max)$' "$(quota beside)"
is "48Mi" $((48 << 20)) "$(cgroup_file limited web memory memory.limit_in_bytes memory.max)"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then weights="4 10"; else weights="102 256"; fi
is "requests are weights" "$weights" "$(cgroup_file limited web cpu cpu.shares cpu.weight) $(cgroup_file limited beside cpu cpu.shares cpu.weight)"

# 300 ms of CPU time at a fifth of a CPU last 1.5 s; without the quota 0.3 s.
address=$(field pod limited '{.status.podIP}')
since=$(now)
ok "300 ms of CPU are burnt" on node-1 curl -sf -m 10 "http://$address/burn?ms=300"
took=$(($(now) - since))
ok "that took at least a second ($took ms): throttled" test $took -ge 1000
throttled() { [ -n "$(cgroup_file limited web cpu cpu.stat cpu.stat | awk '$1 == "nr_throttled" && $2 > 0')" ]; }
ok "the kernel says so too" throttled

before=$(identity limited beside) first=$(identity limited web)
ok "20 MiB are within the limit" on node-1 curl -sf -m 5 "http://$address/alloc?mb=20"
is "nothing was restarted by them" 0 "$(field pod limited '{.status.containerStatuses[?(@.name=="web")].restartCount}')"
since=$(now)
on node-1 curl -sf -m 5 "http://$address/alloc?mb=64" >/dev/null
is "64 MiB more are not answered (curl: the connection ended)" 52 $?
last() { field pod limited "{.status.containerStatuses[?(@.name==\"web\")].lastState.terminated.$1}"; }
oom() { [ "$(last reason)" = OOMKilled ]; }
within 3000 "the container is shown as OOMKilled" 10 oom
is "with exit code 137" 137 "$(last exitCode)"
ok "it is ready again" until_true 10 on node-1 curl -sf -m 1 "http://$address/"
ok "as another container" test "$first" != "$(identity limited web)"
is "its neighbour in the pod ran on" "$before" "$(identity limited beside)"
