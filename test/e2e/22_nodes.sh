#!/usr/bin/env bash
# A machine joins with manifests/nodes/node.yaml and a one-time token, having nothing but the program; its file is in force and
# changes live; taints make pods leave in time; the Node is deleted and the machine is clean again; it comes back.
#uses: unshare nsenter mount awk sed find
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/inspect.sh"
plan 80

start_cluster 2
machine=m8t-nodes-$$ bare=$work/bare file=$work/bare/node.yaml agent=
clean_up() {
    [ -z "$agent" ] || kill -KILL "$agent" 2>/dev/null
    for pid in $(pgrep -f -- "$bare/"); do kill -KILL "$pid" 2>/dev/null; done
    ip netns del "$machine" 2>/dev/null
    finish
}
trap clean_up EXIT

# --- a machine: a network namespace on the nodes' bridge, and a folder with the program and its file ---
address=$(field node node-1 '{.status.addresses[0].address}')
bridge=$(ip -o route get "$address" | grep -o 'dev [^ ]*' | cut -d' ' -f2)
ip netns add "$machine"
ip link add m8t-nodes type veth peer name eth0 netns "$machine"
ip link set m8t-nodes master "$bridge" up
ip -n "$machine" link set lo up
ip -n "$machine" link set eth0 up
ip -n "$machine" address add "${address%.*}.77/24" dev eth0
ip -n "$machine" route add default via "${address%.*}.254"
mkdir "$bare" "$bare/none"
cp "$minik8s" "$bare/"
sed "s|https://10.77.0.1:6443|https://$address:6443|; s|/var/lib/minik8s/node|$bare/dir|; s|# socket: .*|socket: $bare/podman.sock|" manifests/nodes/node.yaml >"$file"
# In a mount namespace of its own, where the source tree's Lua cannot be seen. Images are shared, as a registry would.
minik8s_there() {
    unshare -m sh -c 'for d in lua policies plugins; do [ ! -d "$0/$d" ] || mount --bind "$1/none" "$0/$d" || exit 9; done; shift; exec "$@"' \
        "$PWD" "$bare" "$bare/minik8s" "$@"
}
join() { timeout 20 unshare -m "$bare/minik8s" node --config "${2:-$file}" --dir "$bare/try" --netns "/run/netns/$machine" --token "$1" 2>&1; }
start_agent() {
    minik8s_there node --config "$file" --netns "/run/netns/$machine" --images "$MINIK8S_DIR/images" "$@" >>"$bare/agent.log" 2>&1 &
    agent=$!
}
condition() { field node worker-1 "{.status.conditions[?(@.type==\"$1\")].$2}"; }
ready() { [ "$(condition Ready status)" = True ]; }
value() { field node worker-1 "$1"; }
value_is() { [ "$(value "$1")" = "$2" ]; }
change() { sed -i "$1" "$file"; since=$(now); }
follow_each_other() { awk 'NR > 1 && $1 != last + 1 {exit 1} {last = $1} END {exit NR < 2}'; } # numbers, one a line
worker_podman() { podman --remote --url "unix://$bare/podman.sock" "$@"; }

# --- the Node is made, and tokens that do not fit are refused ---
output=$(k apply -f "$file" 2>"$work/applied")
matches "apply creates the Node" '^node/worker-1 created' "$output"
matches "and prints the command that joins the machine" "minik8s node --config $file --token [a-z0-9]{6}\.[a-z0-9]{16}\.[0-9a-f]{64}" "$output"
matches "the part for the machine is not sent" "NodeConfiguration is for the machine" "$(cat "$work/applied")"
token=$(sed -n 's/.*--token //p' <<<"$output")
matches "a wrong token is refused" 'unknown or its secret is wrong' "$(join "abcdef.0123456789abcdef.${token##*.}")"
matches "a token for another CA is refused before it is sent" 'not the one that the join token was made for' "$(join "${token%.*}.$(printf '0%.0s' $(seq 64))")"
sed 's/name: worker-1/name: other/' "$file" >"$bare/other.yaml"
matches "a token for worker-1 lets nobody else in" 'for the node "worker-1", not for "other"' "$(join "$token" "$bare/other.yaml")"
short=$(k token create --ttl=1s)
until_true 5 shows "^${short%%.*} .*expired" k token list
matches "an expired token is refused" 'has expired' "$(join "$short")"
ok "a deleted one too" k token delete "$short"
matches "which is unknown then" 'unknown or its secret' "$(join "$short")"
until_true 5 value_is '{.status.conditions[0].reason}' NodeStatusNeverUpdated
matches "until the machine joins, the Node says so" 'No machine has joined' "$(condition Ready message)"

# --- errors of the file have a line; the doctor knows them ---
sed 's/maxPods: 50/maxPods: 5000/; s/effect: NoSchedule/effect: Never/' "$file" >"$bare/wrong.yaml"
output=$("$bare/minik8s" node --config "$bare/wrong.yaml" 2>&1)
matches "a wrong value is refused with its line" "wrong.yaml:$(grep -n 'effect: Never' "$bare/wrong.yaml" | cut -d: -f1): spec.taints\[0\].effect" "$output"
sed 's/  driver: overlay/  drivr: overlay/' "$file" >"$bare/unknown.yaml"
matches "an unknown field too" "unknown.yaml:$(grep -n drivr "$bare/unknown.yaml" | cut -d: -f1): .*unknown field \"storage.drivr\"" "$("$bare/minik8s" node --config "$bare/unknown.yaml" 2>&1)"
output=$(ip netns exec "$machine" "$minik8s" doctor --config "$file")
matches "the doctor finds the address of the interface" "ok .*address of this machine +${address%.*}.77" "$output"
matches "and the server" "ok .*server +https://$address:6443" "$output"
matches "and what is wrong with a file" "BAD .*unknown.yaml:[0-9]+:" "$("$minik8s" doctor --config "$bare/unknown.yaml")"

# --- it joins ---
since=$(now)
start_agent --token "$token"
within 20000 "the bare machine joins and is Ready" 30 ready || note "$(tail -n 5 "$bare/agent.log")"
matches "the token has served" 'has been used|was used already|is unknown' "$(join "$token")"
matches "which the list shows" "^${token%%.*} +worker-1 +used" "$(k token list)"
is "labels of the file" "ssd east worker-1" "$(value '{.metadata.labels.disk} {.metadata.labels.topology\.kubernetes\.io/zone} {.metadata.labels.kubernetes\.io/hostname}')"
is "taints of the file" "dedicated=batch:NoSchedule" "$(value '{.spec.taints[0].key}={.spec.taints[0].value}:{.spec.taints[0].effect}')"
is "maxPods and a resource of its own" "50 4" "$(value '{.status.allocatable.pods} {.status.allocatable.example\.com/licence}')"
quantities=($(value '{.status.capacity.memory} {.status.allocatable.memory}'))
is "reserved memory is kept" $((256 * 1024)) $((${quantities[0]%Ki} - ${quantities[1]%Ki}))
is "address of the interface" "${address%.*}.77" "$(value '{.status.addresses[0].address}')"
ok "the agent listens on its port" on node-1 curl -skf -o /dev/null "https://${address%.*}.77:10250/healthz"
is "everything is in force" "True AllInForce" "$(condition ConfigurationApplied status) $(condition ConfigurationApplied reason)"
is "runtime.type, runtime.socket, storage.driver and storage.path" "overlay $bare/dir/storage/graph" "$(worker_podman info --format '{{.Store.GraphDriverName}} {{.Store.GraphRoot}}')"
wide=$(k get nodes worker-1 -o wide --no-headers)
matches "get nodes -o wide" "^worker-1 +Ready .*${address%.*}.77 .*podman://" "$wide"

# --- the file changes while the agent runs ---
change 's/disk: ssd/disk: nvme/; s/memory: 256Mi/memory: 512Mi/; s/maxPods: 50/maxPods: 20/; s/maxSize: 10Mi/maxSize: 64Ki/; s/maxFiles: 5/maxFiles: 3/; /^ *- key: dedicated/,/effect: NoSchedule/d; s/^  taints:.*/  taints: []/'
within 2000 "a changed file is in force: labels" 5 value_is '{.metadata.labels.disk}' nvme
ok "maxPods, taints" until_true 3 value_is '{.status.allocatable.pods} {.spec.taints[0].key}' '20 '
k label node worker-1 mine=yes >/dev/null
change 's/heartbeatSeconds: 1/heartbeatSeconds: 3/; s/disk: nvme/tier: one/'
within 2000 "a label that the file lacks now is gone, others' stay" 5 value_is '{.metadata.labels.disk}{.metadata.labels.tier} {.metadata.labels.mine}' 'one yes'
beat() { k get lease worker-1 -n kube-node-lease -o 'jsonpath={.spec.renewTime}'; }
next_beat() { local last; last=$(beat); until_true 8 sh -c "[ \"\$($kubectl get lease worker-1 -n kube-node-lease -o 'jsonpath={.spec.renewTime}')\" != '$last' ]"; }
next_beat && since=$(now) && next_beat
took=$(($(now) - since))
ok "heartbeatSeconds: 3: from one beat to the next $took ms" test $took -ge 2700
ok "and the node is Ready" ready
change 's/port: 10250/port: 10260/; s/heartbeatSeconds: 3/heartbeatSeconds: 1/'
within 2000 "a port needs a restart: the condition says so" 5 sh -c "[ '$kubectl' ] && $kubectl get node worker-1 -o jsonpath='{.status.conditions[?(@.type==\"ConfigurationApplied\")].message}' | grep -q 'restart of the agent: port'"
ok "an Event too" until_true 3 shows 'RestartNeeded: .*: port$' events_of worker-1
cp "$file" "$bare/port.yaml"
change 's|^server: .*|server: https://192.0.2.1:6443|; s/^interface: .*/interface: eth1/; s|socket: .*|socket: /none|; s/driver: overlay/driver: vfs/; s/name: worker-1 /name: worker-2 /'
all_need_it() { grep -q 'restart of the agent: server, interface, port, runtime, storage, metadata.name' <<<"$(condition ConfigurationApplied message)"; }
within 2000 "server, interface, runtime, storage and name too" 5 all_need_it || note "$(condition ConfigurationApplied message)"
ok "with the old ones the node is Ready meanwhile" ready
cp "$bare/port.yaml" "$file"
change 's/port: 10260/port: 10250/; s/maxPods: 20/maxPods: many/'
wrong_line=$(grep -n 'maxPods: many' "$file" | cut -d: -f1)
says_wrong() { grep -q "node.yaml:$wrong_line: maxPods" <<<"$(condition ConfigurationApplied message)"; }
within 2000 "a file that is wrong is reported with its line" 5 says_wrong
is "and changes nothing" 20 "$(value '{.status.allocatable.pods}')"
change 's/maxPods: many/maxPods: 20/'
ok "mended, all is in force" until_true 3 sh -c "$kubectl describe node worker-1 | grep -q 'ConfigurationApplied  *True'"

# --- pods come; a taint makes them leave in its time ---
cat >"$work/web.yaml" <<'YAML'
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 1
      affinity: { nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [ { weight: 100, preference: { matchExpressions: [ { key: tier, operator: In, values: [one] } ] } } ] } }
      tolerations: [ { key: leaving, operator: Exists, effect: NoExecute, tolerationSeconds: 3 } ]
      containers: [ { name: web, image: "localhost/m8-web:1" } ]
---
apiVersion: v1
kind: Pod
metadata: { name: web-bare, labels: { app: bare } }
spec: { nodeName: worker-1, terminationGracePeriodSeconds: 1, containers: [ { name: web, image: "localhost/m8-web:1" } ] }
---
apiVersion: v1
kind: Pod
metadata: { name: chatty }
spec: { nodeName: worker-1, restartPolicy: Never, containers: [ { name: chatty, image: "localhost/m8-busybox:1", command: [seq, "300000"] } ] }
---
apiVersion: v1
kind: Pod
metadata: { name: steady }
spec:
  nodeName: worker-1
  terminationGracePeriodSeconds: 0
  containers:
    - name: steady
      image: localhost/m8-busybox:1
      command: [sh, -c, 'n=0; until [ -e /tmp/stop ]; do seq $((n * 120 + 1)) $((n * 120 + 120)); n=$((n + 1)); sleep 0.2; done; exit 3']
YAML
k apply -f "$work/web.yaml" >/dev/null
ok "pods run on the new machine" until_true 20 sh -c "[ \$($kubectl get pods -o wide --no-headers | grep worker-1 | grep -c Running) -ge 2 ]"
matches "they are podman's on that machine" '^m8_web_web-' "$(worker_podman ps --format '{{.Names}}')"
k expose deployment web --port=80 --target-port=80 >/dev/null
answers() { on node-1 curl -sf -m 1 -o /dev/null "http://$(field service web '{.spec.clusterIP}')/"; }
until_true 10 answers
start_load "requests while the file changes" 100 "$minik8s" cluster exec node-1 --
change 's/network: auto/network: vxlan/; s/maxPods: 20/maxPods: 30/; s/heartbeatSeconds: 1/heartbeatSeconds: 2/; s/memory: 512Mi/memory: 300Mi/'
tunnelled() { value_is '{.status.allocatable.pods}' 30 && grep -q 'dev m8vx' <<<"$(ip -n "$machine" route)"; }
ok "network, maxPods, heartbeatSeconds and reserved change under traffic" until_true 10 tunnelled
change 's/network: vxlan/network: auto/; s/maxPods: 30/maxPods: 20/; s/heartbeatSeconds: 2/heartbeatSeconds: 1/'
direct() { value_is '{.status.allocatable.pods}' 20 && ! grep -q 'dev m8vx' <<<"$(ip -n "$machine" route)"; }
ok "and back" until_true 10 direct
sleep 1
end_load "requests while the file changes"
ok "a pod that writes a lot" k wait pod chatty --for=jsonpath='{.status.phase}'=Succeeded --timeout=90s
# 300,000 lines at once are 15 MB: before the agent has looked, the monitor itself begins a file at 16 times what is kept.
size=$(du -cb "$bare"/dir/agent/logs/default_chatty_*/chatty/* | awk 'END {print $1}')
ok "logs.maxSize, logs.maxFiles: a burst's log holds $size bytes" test "$size" -gt 1000 -a "$size" -le $((3 * 16 * 3 * 64 * 1024))
ok "which end with its end, without a hole" follow_each_other <<<"$(k logs chatty; echo 300001)"
# About 6 KB each fifth of a second: a file, 1,300 lines, is full after two seconds.
log=$(echo "$bare"/dir/agent/logs/default_steady_*/steady)
files_are() { [ "$(find "$log" -name '0.log.*' ! -name '*.tmp' -size +0 | wc -l)" = "$1" ]; }
while sleep 0.2; do stat -c '%n %s' "$log"/0.log.[0-9]*; done >"$work/sizes" 2>/dev/null &
sampler=$!
timeout 60 "$kubectl" logs -f steady >"$work/steady" &
follower=$!
ok "a pod that writes without end has maxFiles files" until_true 20 files_are 3
ok "and no more" refuses until_true 1 files_are 4
# podman's service lives on with its mounts: the next agent is started beside it.
service=$(pgrep -of -- "service.*unix://$bare/podman.sock")
pkill -KILL -f -- "^$bare/minik8s node"
wait "$agent"
is "SIGKILL for the agent" 137 $?
sleep 2
nsenter -m -t "$service" "$bare/minik8s" node --config "$file" --netns "/run/netns/$machine" --images "$MINIK8S_DIR/images" >>"$bare/agent.log" 2>&1 &
agent=$!
ok "the next one finds the pod, and the log goes on" until_true 20 sh -c "$kubectl exec steady -- touch /tmp/marked"
sleep 2
all=$(k logs steady)
ok "logs: more than a file of them, without a hole" follow_each_other <<<"$all"
ok "in $(wc -l <<<"$all") lines" test "$(wc -l <<<"$all")" -gt 1500
newest=$(wc -l <"$log/0.log")
lines=$((newest + 300))
tail=$(k logs steady --tail=$lines)
is "logs --tail over two files" "$lines" "$(wc -l <<<"$tail")"
ok "without a hole" follow_each_other <<<"$tail"
recent=$(k logs steady --since=2s)
ok "logs --since, without a hole" follow_each_other <<<"$recent"
ok "only what is new: $(wc -l <<<"$recent") lines" test "$(wc -l <<<"$recent")" -lt "$(wc -l <<<"$all")"
kill "$follower" 2>/dev/null
timeout 60 "$kubectl" logs -f steady --tail=0 >"$work/steady" &
follower=$!
far_enough() { [ "$(wc -l <"$work/steady")" -gt 2900 ]; }
until_true 30 far_enough
k exec steady -- touch /tmp/stop
wait "$follower"
ok "logs -f over three files: $(wc -l <"$work/steady") lines without a hole" follow_each_other <"$work/steady"
kill "$sampler"
# Of each file its greatest size; the last one grew when the container ended.
full() { sed 's/.*\.//' "$work/sizes" | awk '$2 > 0 && $2 > max[$1] { max[$1] = $2; if ($1 > last) last = $1 }
    END { for (n in max) if (n != last) { files++; if (max[n] < 65536) print "file " n ": " max[n] " bytes" } exit files < 4 }'; }
is "every file is full before the next begins" "0 " "$(full >"$work/short"; echo "$? $(cat "$work/short")")"
is "to the container's end" "$(cat "$log"/0.log.[0-9]* | cut -d' ' -f4 | sort -n | tail -n 1)" "$(tail -n 1 "$work/steady")"
ok "the container begins anew" until_true 20 test -e "$log/1.log"
is "logs --previous: its last line" "$(tail -n 1 "$work/steady")" "$(k logs steady --previous | tail -n 1)"
is "over all its files" "$(cat "$log"/0.log.[0-9]* | wc -l)" "$(k logs steady --previous | wc -l)"
k delete pod steady --wait=false >/dev/null
since=$(now)
k patch node worker-1 -p '{"spec":{"taints":[{"key":"leaving","effect":"NoExecute"}]}}' >/dev/null
gone() { refuses k get pod web-bare; }
within 4000 "NoExecute: who does not tolerate it leaves" 8 gone
moved() { [ "$(k get pods -l app=web -o wide --no-headers | grep -v worker-1 | grep -c Running)" = 2 ] && refuses shows worker-1 k get pods -l app=web -o wide --no-headers; }
until_true 15 moved
took=$(($(now) - since))
ok "tolerationSeconds: 3: they left after that ($took ms) and run elsewhere" test $took -ge 2900
ok "each with an Event" shows 'TaintManagerEviction: Node worker-1 has the taint leaving:NoExecute' events_of web-bare
k patch node worker-1 -p '{"spec":{"taints":[]}}' >/dev/null

# --- the Node is deleted: the machine is as it was; started again it is back ---
k scale deployment web --replicas=4 >/dev/null
ok "pods run there again" until_true 20 sh -c "[ \$($kubectl get pods -l app=web -o wide --no-headers | grep -c 'Running.*worker-1') -ge 1 ]"
ok "delete node" k delete node worker-1
four_elsewhere() { [ "$(k get pods -l app=web -o wide --no-headers | grep -v worker-1 | grep -c ' Running ')" = 4 ]; }
ok "its pods run elsewhere" until_true 20 four_elsewhere
wait "$agent"
is "the agent ends by itself" 0 $? || note "$(tail -n 5 "$bare/agent.log")"
agent=
is "it left no process, interface, rule or route" "0 0 0 0" "$(pgrep -fc -- "$bare/dir") $(ip -n "$machine" -o link | grep -c ' m8') $(ip netns exec "$machine" nft list tables | wc -l) $(ip -n "$machine" route | grep -c 10.244)"
since=$(now)
start_agent
within 20000 "started again, with its certificate and no token, it is a node again" 30 ready
k delete node worker-1 >/dev/null
wait "$agent"
agent=

# --- certificates of nodes are renewed while pods run ---
export MINIK8S_DIR=$MINIK8S_DIR-short
clusters+=("$MINIK8S_DIR")
ok "a cluster whose nodes' certificates are valid for 9 s" "$minik8s" cluster up --nodes 1 --host-names no --node-certificate-seconds 9
certificate=$MINIK8S_DIR/nodes/node-1/agent/pki/node.crt
first=$(sha256sum "$certificate") agent_pid=$(cut -d' ' -f1 "$MINIK8S_DIR/nodes/node-1/agent.pid")
"$minik8s" cluster load "$BUILD"/images/m8-busybox-1.tar
k run sleeper --image=localhost/m8-busybox:1 --command -- sleep infinity >/dev/null
ok "a pod" k wait pod sleeper --for=condition=Ready --timeout=90s
before=$(podman_of node-1 ps --no-trunc --format '{{.ID}} {{.StartedAt}}' | sort)
since=$(now)
renewed() { [ "$(sha256sum "$certificate")" != "$first" ]; }
within 9000 "the agent gets the next one" 12 renewed
sleep $((10 - ($(now) - since) / 1000)) # the first is no longer valid
ok "node-1 is Ready" until_true 5 shows 'node-1 +Ready' k get nodes
ok "exec into its pod" until_true 5 k exec sleeper -- true
is "no container was restarted" "$before" "$(podman_of node-1 ps --no-trunc --format '{{.ID}} {{.StartedAt}}' | sort)"
matches "it is the same process" "node --name node-1 " "$(tr '\0' ' ' <"/proc/$agent_pid/cmdline")"
ok "key and certificate belong together" test -s "$MINIK8S_DIR/nodes/node-1/agent/pki/node.key" -a ! -e "$MINIK8S_DIR/nodes/node-1/agent/pki.next"
