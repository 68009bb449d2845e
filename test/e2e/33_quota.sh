#!/usr/bin/env bash
# ResourceQuota and LimitRange: what a container gets stands in its cgroup; a full quota refuses in Kubernetes' words, also when
# requests come at the same time and after the server was killed; what ends makes room at once. Judged by what podman runs.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/inspect.sh"
plan 25
k() { "$kubectl" -n team "$@"; }

start_cluster 1
k apply -f manifests/scheduling/quota.yaml >/dev/null
webs() { podman_of node-1 ps --format '{{.Names}}' | grep -c '^m8_web_web-'; }
webs_are() { [ "$(webs)" = "$1" ]; }
used() { field quota budget "{.status.used.$1}"; }
used_is() { [ "$(used "$1")" = "$2" ]; }
ok "three of five fit" until_true 20 ready_is web 3
set=$(k get rs -o 'jsonpath={.items[0].metadata.name}')
ok "the ReplicaSet tells why the others do not" until_true 5 shows 'FailedCreate: Error creating: pods "web-[a-z0-9-]+" is forbidden: exceeded quota: budget, requested: pods=1, used: pods=3, limited: pods=3' events_of "$set"
ok "and the Deployment" until_true 5 shows 'exceeded quota: budget' field deployment web '{.status.conditions[?(@.type=="ReplicaFailure")].message}'
is "only what was made is told as made" 3 "$(k get events --field-selector "involvedObject.name=$set,reason=SuccessfulCreate" -o name | wc -l)"
is "three run" 3 "$(webs)"
matches "get quota" '^budget +[0-9]+s +count/jobs.batch: 0/2, persistentvolumeclaims: 0/1, pods: 3/3, requests.cpu: 150m/1, requests.storage: 0/1Gi +limits.memory: 144Mi/256Mi' "$(k get quota --no-headers)"
text=$(k describe namespace team)
matches "describe namespace: the quota" ' +limits.memory +144Mi +256Mi' "$text"
matches "and the limits" ' +Container +memory +- +64Mi +16Mi +48Mi +4' "$text"
matches "describe quota" '^pods +3 +3' "$(k describe quota budget)"

pod=$(k get pods -l app=web -o 'jsonpath={.items[0].metadata.name}')
is "the default limit is in the kernel: 48Mi" $((48 << 20)) "$(cgroup_file "$pod" web memory memory.limit_in_bytes memory.max)"
limit=$(cgroup_file "$pod" web cpu cpu.cfs_quota_us cpu.max)
is "and 200m: 20 of every 100 ms" 20000 "${limit%% *}"
matches "who set it is told" 'LimitRanger plugin set: cpu, memory request for container web; cpu, memory limit' "$(field pod "$pod" '{.metadata.annotations}')"

since=$(now)
k patch quota budget -p '{"spec":{"hard":{"pods":"4"}}}' >/dev/null
within 3000 "more room is used at once, without the back-off" 10 webs_are 4
apply() { k apply -f - 2>&1; }
pod_yaml() { echo "{apiVersion: v1, kind: Pod, metadata: {name: $1}, spec: {restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{name: c, image: 'localhost/m8-busybox:1', command: [sh, -c, $2]${3:-}}]}}"; }
matches "too large for a container" 'pods "big" is forbidden: \[?maximum memory usage per Container is 64Mi, but limit is 1Gi' "$(pod_yaml big 'exit 0' ', resources: {limits: {memory: 1Gi}}' | apply)"
matches "too large a claim" 'persistentvolumeclaims "big" is forbidden: maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi' "$(apply <<<'{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: big}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 2Gi}}}}')"
matches "a quota for what nobody counts is refused with its path" 'spec.hard\[pod\]: Invalid value: "pod": must be a standard resource for quotas' "$(k create quota bad --hard=pod=1 2>&1)"
matches "without a default it has to be said" 'pods "silent" is forbidden: failed quota: budget: must specify limits.memory for: c; requests.cpu for: c' "$(k delete limitrange sizes >/dev/null; pod_yaml silent 'exit 0' | apply)"

k delete deployment web >/dev/null
ok "with its pods their part is given back" until_true 10 used_is pods 0
is "all of it" "0 0" "$(used 'requests\.cpu') $(used 'limits\.memory')"
config=$("$minik8s" cluster kubeconfig)
part() { awk -v key="$1:" '$1 == key {print $2}' "$config"; }
part certificate-authority-data | base64 -d >"$work/ca"
(umask 077 && echo "header = \"Authorization: Bearer $(part token)\"" >"$work/curl") # not in the list of processes
post() { # NAME: the status code
    curl -s -m 20 --cacert "$work/ca" -K "$work/curl" -o /dev/null -w '%{http_code}\n' -H 'Content-Type: application/yaml' \
        -d "$(pod_yaml "$1" "'sleep 1'" ', resources: {requests: {cpu: 1m}, limits: {memory: 16Mi}}')" "$(part server)/api/v1/namespaces/team/pods"
}
for i in 1 2 3 4 5 6 7 8 9; do post "p$i" >"$work/code-$i" & done
wait
is "of nine at the same time four get a place" "4 201 5 403" "$(cat "$work"/code-* | sort | uniq -c | xargs)"
"$minik8s" cluster restart server --kill >/dev/null 2>&1
is "the killed server knows what is taken" 403 "$(until_true 10 k get ns; post p0)"
ok "pods that have ended make room" until_true 10 used_is pods 0
is "also for the next" 201 "$(post p0)"
is "Jobs are counted too" "created created refused" "$(for i in 1 2 3; do k create job "j$i" --image=localhost/m8-busybox:1 -- true 2>&1 | grep -o 'created\|exceeded quota' | sed 's/exceeded quota/refused/'; done | xargs)"
k delete namespace team --wait=false >/dev/null
gone() { ! k get namespace team; }
ok "the namespace goes, quota and all" until_true 20 gone
