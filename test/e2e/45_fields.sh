#!/usr/bin/env bash
# 45_fields: fields of Pods and Services, each shown in force from outside: by what the container's processes see, its
# cgroup's files, files on the node, real connections. test/golden/fields.tsv says which field is shown where.
#uses: awk curl grep sed seq
. "$(dirname "$0")/lib.sh"
plan 104
start_cluster 2

FILES=test/e2e/45_fields
HOST=/tmp/m8-fields-host

in_pod() { timeout 10 "$kubectl" exec "$1" -c "$2" -- sh -c "$3" 2>&1 </dev/null; } # POD CONTAINER SCRIPT
main() { in_pod fields main "$1"; }
pod() { field pod "$1" "{$2}"; }                                         # POD PATH
state() { pod "$1" ".status.containerStatuses[0].state.$2"; }          # POD PATH
last() { pod "$1" ".status.containerStatuses[0].lastState.terminated.$2"; }
restarts() { pod "$1" ".status.containerStatuses[0].restartCount"; }
pid_of() { # POD CONTAINER NODE: its process as the machine sees it
    local id
    id=$(podman_of "$3" ps -q --filter "label=io.minik8s.pod.name=$1" --filter "label=io.minik8s.container=$2")
    podman_of "$3" inspect --format '{{.State.Pid}}' "$id"
}
cgroup() { # PID CONTROLLER V1-FILE V2-FILE
    local path
    path=$(awk -F: -v c="$2" '$2 ~ "(^|,)" c "(,|$)" { print $3 }' "/proc/$1/cgroup")
    if [ -n "$path" ]; then cat /sys/fs/cgroup/"$2$path/$3"; else cat "/sys/fs/cgroup$(sed -n s/^0:://p "/proc/$1/cgroup")/$4"; fi
}
events() { k get events --field-selector "involvedObject.name=$1" -o 'jsonpath={.items[*].reason}'; }
answers() { on "$1" curl -s -m 2 "$2"; }            # NODE URL
who() { answers "$1" "$2" | sed -n 's/.*pod=\([a-z]*\).*/\1/p'; }
is_refused() { ! answers "$1" "$2" >/dev/null; }
equal() { is "$1" "$3" "$2"; }                                           # NAME GOT WANTED
has() { grep -qF -- "$2" <<<"$1"; }
says() { local want=$1; shift; [ "$("$@")" = "$want" ]; }                # TEXT COMMAND…
includes() { local want=$1; shift; has "$("$@" 2>&1)" "$want"; }

echo_state() { echo "$(pod "$1" .status.phase) $(state "$1" terminated.exitCode) $(state "$1" terminated.message)"; }
test_restarted() { [ "$(restarts "$1")" -gt 0 ]; }
first_error() { echo "$(state "$1" waiting.message)$(state "$1" terminated.message)$(last "$1" message)"; }
many_answers() { for _ in $(seq 40); do who node-1 "$1"; done; }           # URL
both_answer() { # URL: within 40 requests, from node-1
    local i seen=""
    for i in $(seq 40); do
        seen+=$(who node-1 "$1")$'\n'
        [ "$(sort -u <<<"$seen" | grep -c .)" -ge 2 ] && break
    done
    [ "$(sort -u <<<"$seen" | grep . | tr '\n' ' ')" = "one two " ]
}

trap 'rm -rf $HOST; finish' EXIT
mkdir -p $HOST && chmod 777 $HOST
k patch node node-2 --type=merge -p '{"spec":{"taints":[{"key":"m8-fields","value":"yes","effect":"NoSchedule"}]}}' >/dev/null

# ---- applied together, looked at one after the other
for file in pod more services; do
    k apply -f $FILES/$file.yaml >/dev/null || echo "# apply $file.yaml failed"
done
k wait --for=condition=Ready pod/fields --timeout=90s >/dev/null
ok "init container, sidecar with startupProbe, main: in this order" says "made by init" main 'cat /disk/main'

# ---- one pod with many fields
env=$(main env)
for line in PLAIN=plain 'NESTED=plain-$(MISSING)-$(PLAIN)' NAME=fields NAMESPACE=default "POD_UID=$(pod fields .metadata.uid)" LABEL=one \
    'NOTE=hello there' NODE=node-1 "POD_IP=$(pod fields .status.podIP)" "HOST_IP=$(pod fields .status.hostIP)" ACCOUNT=default \
    COLOUR=blue PASSWORD=hunter2 CPU_LIMIT=250 MEMORY_REQUEST=16777216 CM_colour=blue CM_size=7 token=abc; do
    ok "env: $line" grep -qxF -- "$line" <<<"$env"
done
ok "env: an optional key that is absent is no variable" bash -c '! grep -q ^NOTHING= <<<"$1"' - "$env"
equal "args, with \$(NAME) replaced" "$(k logs fields -c main)" "words of fields"
equal "workingDir" "$(main pwd)" /var
equal "container's runAsUser wins, pod's runAsGroup, fsGroup and supplementalGroups hold" "$(main id)" "uid=1111(1111) gid=2345(2345) groups=3456,4567"
equal "hostname" "$(main hostname)" box
hosts=$(main 'cat /etc/hosts') resolv=$(main 'cat /etc/resolv.conf')
ok "hostAliases: ip and hostnames" grep -q '^10.9.9.9.far.example.further.example$' <<<"$hosts"
ok "subdomain in /etc/hosts" has "$hosts" "box.inner.default.svc.cluster.local"
ok "dnsConfig.nameservers" has "$resolv" "nameserver 10.9.9.53"
ok "dnsConfig.searches after the cluster's" grep -q '^search default.svc.cluster.local .* lab.example$' <<<"$resolv"
ok "dnsConfig.options" has "$resolv" "options ndots:2 edns0"
status=$(main 'cat /proc/self/status')
ok "capabilities: drop ALL, add NET_BIND_SERVICE" grep -q 'CapBnd:.0000000000000400' <<<"$status"
ok "allowPrivilegeEscalation: false" grep -q 'NoNewPrivs:.1' <<<"$status"
ok "readOnlyRootFilesystem" has "$(main 'touch /x')" "Read-only file system"
pid=$(pid_of fields main node-1)
equal "limits.memory in the cgroup" "$(cgroup "$pid" memory memory.limit_in_bytes memory.max)" 33554432
quota=$(cgroup "$pid" cpu cpu.cfs_quota_us cpu.max)
equal "limits.cpu in the cgroup" "${quota%% *}" 25000
shares=$(cgroup "$pid" cpu cpu.shares cpu.weight)
ok "requests.cpu in the cgroup" [ "$shares" -le 51 ]
ok "volumeMounts.readOnly" has "$(main 'echo x > /host-file')" "Read-only file system"
ok "hostPath: DirectoryOrCreate and FileOrCreate made them on the node" test -f $HOST/made
main 'echo from the pod > /host/written'
equal "hostPath: what is written is on the node" "$(cat $HOST/written)" "from the pod"
ok "emptyDir: medium Memory" has "$(main 'mount | grep /memory')" "tmpfs on /memory"
ok "emptyDir: sizeLimit of one in memory" has "$(main 'dd if=/dev/zero of=/memory/x bs=1M count=2; rm /memory/x')" "No space left"
ok "emptyDir on disk belongs to fsGroup" says "3456 2777" main 'stat -c "%g %a" /disk'
equal "subPath" "$(main 'echo part > /part/x; cat /disk/parts/one/x')" part
equal "subPathExpr" "$(main 'echo named > /named/x; cat /disk/by-fields/x')" named
equal "configMap: items, path" "$(main 'cat /settings/deep/renamed.txt; ls /settings')" "from a config map
colour
deep
raw"
equal "configMap: binaryData" "$(main 'cat /settings/raw')" bytes
for kind in configmap secret; do
    ok "$kind: immutable" includes immutable k patch $kind fixed --type=merge -p '{"data":{"a":"Yw=="}}'
done
equal "configMap: mode of an item, defaultMode of the others (readable by fsGroup)" "$(main 'stat -Lc %a /settings/deep/renamed.txt /settings/colour' | tr '\n' ' ')" "440 440 "
equal "configMap: optional and absent is empty" "$(main 'ls /absent')" ""
equal "a single key by subPath" "$(main 'cat /one-file')" blue
equal "secret as files" "$(main 'cat /keys/password')" hunter2
ok "secret lies in memory" has "$(main 'mount | grep /keys')" "tmpfs on /keys"
equal "downwardAPI: labels" "$(main 'cat /about/labels')" 'app="fields"
tier="one"'
equal "downwardAPI: resourceFieldRef, divisor" "$(main 'cat /about/memory')" 32
equal "projected: configMap, secret, downwardAPI in one directory" "$(main 'cat /all/size /all/token /all/name')" 7abcfields
equal "projected: defaultMode" "$(main 'stat -Lc %a /all/size')" 444
equal "postStart ran" "$(main 'cat /disk/post-start')" started
equal "nodeSelector" "$(pod fields .spec.nodeName)" node-1
k patch configmap settings --type=merge -p '{"data":{"colour":"green"}}' >/dev/null
ok "a changed ConfigMap is in the volume within 2 s" until_true 2 says green main 'cat /settings/colour'
main 'printf "by hand" > /tmp/last-words; kill -9 $(pidof sleep)' >/dev/null
ok "terminationMessagePath" until_true 5 says "by hand" pod fields '.status.containerStatuses[?(@.name=="main")].lastState.terminated.message'

# ---- small pods
ok "imagePullPolicy: Never runs what is there" test -n "$pid"
ok "hostNetwork: the node's own interfaces" has "$(in_pod on-node main 'ip -4 addr')" "$(pod on-node .status.hostIP)/"
equal "privileged: all capabilities of this machine" "$(in_pod on-node main 'grep CapEff /proc/self/status')" "$(grep CapEff /proc/self/status)"
ok "dnsPolicy: ClusterFirstWithHostNet" has "$(in_pod on-node main 'cat /etc/resolv.conf')" "svc.cluster.local"
equal "dnsPolicy: None" "$(in_pod own-dns main 'cat /etc/resolv.conf' | tr -d '\r')" "nameserver 10.9.9.1
search only.example"
equal "tolerations let a pod on a tainted node" "$(pod own-dns .spec.nodeName)" node-2
equal "runAsUser of the pod" "$(in_pod own-dns main 'id -u' | tr -d '\r')" 77
ok "stdin and tty" includes "true true" podman_of node-2 inspect --format '{{.Config.OpenStdin}} {{.Config.Tty}}' "$(podman_of node-2 ps -q --filter label=io.minik8s.pod.name=own-dns --filter label=io.minik8s.container=main)"
equal "dnsPolicy: Default" "$(in_pod node-dns main 'cat /etc/resolv.conf')" "$(cat /etc/resolv.conf)"
equal "nodeAffinity: NotIn, matchFields" "$(pod node-dns .spec.nodeName)" node-1
ok "a taint that is not tolerated keeps a pod off" has "$(events not-tolerated)" FailedScheduling
ok "restartPolicy: Never" until_true 5 says "Failed 3 my words" echo_state never
ok "restartPolicy: OnFailure, second try" until_true 8 says Succeeded pod on-failure .status.phase
equal "terminationMessagePolicy: FallbackToLogsOnError" "$(last on-failure message)" "first try failed"
ok "startupProbe and failureThreshold restart" until_true 8 test_restarted startup
ip=$(pod liveness .status.podIP)
ok "livenessProbe.httpGet: well before" until_true 5 says 0 restarts liveness
answers node-1 "http://$ip:8080/fail" >/dev/null
began=$SECONDS
ok "livenessProbe.httpGet restarts what fails" until_true 10 test_restarted liveness
ok "… with the probe's own grace period" [ $((SECONDS - began)) -lt 9 ]
ip=$(pod too-much .status.podIP)
answers node-1 "http://$ip:8080/alloc?mb=64" >/dev/null
ok "limits.memory: what takes more is killed" until_true 5 says OOMKilled state too-much terminated.reason
ok "runAsNonRoot against an image of root" until_true 5 says CreateContainerConfigError state root-refused waiting.reason
ok "an image that is not there" until_true 5 includes "not present on this node" state no-image waiting.message
ok "a registry that does not answer" until_true 15 includes "connection refused" state no-registry waiting.message
ok "… is shown as ErrImagePull, with Events" bash -c '[[ "$1" == *Pull* && "$2" == *Pulling* && "$2" == *Failed* ]]' - "$(state no-registry waiting.reason)" "$(events no-registry)"
ok "a command that is not there" until_true 5 includes "/none" first_error no-command
ok "a hostPath of the wrong type" until_true 5 includes "is not a Directory" state no-mount waiting.message
ok "a Secret that is not there" until_true 5 says CreateContainerConfigError state no-config waiting.reason

# ---- Services
ok "both pods are behind the Service" until_true 10 both_answer http://plain.default.svc.cluster.local/
ok "readinessProbe: the third is not among 40 answers" refuses includes unready many_answers http://plain.default.svc.cluster.local/
ok "targetPort by name, UDP" includes hello in_pod fields main 'timeout 3 udp plain 90 hello'
ok "clusterIP that was asked for, targetPort is port" both_answer http://10.96.77.77:8080/
equal "NodePort, externalTrafficPolicy Local: node-2 gives its own pod" "$(for i in 1 2 3 4 5 6; do who node-1 "http://$(k get node node-2 -o 'jsonpath={.status.addresses[0].address}'):30777/"; done | sort -u)" two
equal "internalTrafficPolicy Local: node-1 gets its own pod" "$(for i in 1 2 3 4 5 6; do who node-1 http://near.default.svc.cluster.local/; done | sort -u)" one
equal "sessionAffinity: one client, one pod" "$(for i in 1 2 3 4 5 6 7 8; do who node-1 http://sticky.default.svc.cluster.local/; done | sort -u | wc -l)" 1
ok "sessionAffinityConfig.clientIP.timeoutSeconds in the kernel's table" includes "timeout 2s" on node-1 nft list map ip minik8s affinity
names() { in_pod fields beside "nslookup $1 | awk '/^Address/ && !/:53/ { print \$NF }'" | sort; }
ready=$(printf '%s\n' "$(pod one .status.podIP)" "$(pod two .status.podIP)" | sort)
equal "headless: the name is the ready pods" "$(names headless.default.svc.cluster.local)" "$ready"
equal "hostname and subdomain: a pod's own name" "$(names one.headless.default.svc.cluster.local)" "$(pod one .status.podIP)"
ok "publishNotReadyAddresses: all three" has "$(names everybody.default.svc.cluster.local)" "$(pod unready .status.podIP)"

# ---- weights of a profile (PolicyProfile spec.points[].policies[].weight): the same four pods, placed by either score
placed() { # SPREAD BINPACK: how many nodes got four pods
    k apply -f - >/dev/null <<<'{"apiVersion":"minik8s.io/v1","kind":"PolicyProfile","metadata":{"name":"cluster"},"spec":{"points":[
        {"point":"scheduler.score","policies":[{"name":"spread","weight":'"$1"'},{"name":"binpack","weight":'"$2"'}]}]}}'
    k wait --for=jsonpath='{.status.state}'=Active policyprofile/cluster --timeout=5s >/dev/null
    until_true 5 includes "\"weight\":$2" k get policyprofile cluster -o 'jsonpath={.status.points}' || return
    k apply -f $FILES/weighed.yaml >/dev/null && k wait --for=condition=PodScheduled pod -l app=weighed --timeout=5s >/dev/null
    k get pods -l app=weighed -o 'jsonpath={.items[*].spec.nodeName}' | tr ' ' '\n' | sort -u | wc -l
    k delete pod -l app=weighed --grace-period=0 >/dev/null
}
k patch node node-2 --type=merge -p '{"spec":{"taints":null}}' >/dev/null
equal "PolicyProfile: the greater weight of binpack fills one node" "$(placed 1 1000)" 1
equal "PolicyProfile: the greater weight of spread uses both" "$(placed 1000 1)" 2

# ---- what is not in force is said
warned=$(k apply --dry-run=server -f - 2>&1 <<<'{"apiVersion":"minik8s.io/v1","kind":"PolicyProfile","metadata":{"name":"warned"},"spec":{"points":[{"point":"scheduler.score","shadow":["binpack"],"policies":[{"name":"spread"}]}]}}')
ok "a pending field is warned about" has "$warned" shadow
ok "a refused field is refused with its path" has "$(k apply -f - 2>&1 <<<'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"containers":[{"name":"m","image":"i","volumeDevices":[{"name":"a","devicePath":"/dev/a"}]}]}}')" 'spec.containers[0].volumeDevices'

# ---- the end
began=$SECONDS
k delete pod fields >/dev/null
ok "preStop ran before the end" test -s $HOST/pre-stop
ok "preStop: sleep held the end back" [ $((SECONDS - began)) -ge 2 ]
ok "terminationGracePeriodSeconds: over well before 30 s" [ $((SECONDS - began)) -lt 12 ]
