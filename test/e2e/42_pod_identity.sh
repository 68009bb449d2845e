#!/usr/bin/env bash
# 42_pod_identity: who the processes of a pod are, which namespaces, kernel parameters and mounts they see, and whose tokens
# they hold; manifests/pods shown in force from outside.
#uses: sed grep mount umount ipcmk ipcrm curl cut tr base64 jq cmp
. "$(dirname "$0")/lib.sh"
plan 46
start_cluster 1

PODS=manifests/pods
SHARED=/tmp/m8-propagation
in_pod() { timeout 10 "$kubectl" exec "$1" -c "$2" -- sh -c "$3" 2>&1 </dev/null; } # POD CONTAINER SCRIPT
has() { grep -qF -- "$2" <<<"$1"; }
sees() { has "$(in_pod propagation "$1" 'cat /data/*/mark 2>/dev/null')" "$2"; }    # CONTAINER TEXT
pid_of() { # POD CONTAINER
    local id
    id=$(podman_of node-1 ps -q --filter "label=io.minik8s.pod.name=$1" --filter "label=io.minik8s.container=$2")
    podman_of node-1 inspect --format '{{.State.Pid}}' "$id"
}
refused() { # NAME PATH PATCH-OF-SPEC: a pod with this beside its spec is refused with this path
    local name=$1 path=$2 out
    out=$(k apply -f - 2>&1 <<<'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"bad"},"spec":'"$3"'}')
    ok "$name" has "$out" "$path" || note "$out"
}
memory=
leave() { umount $SHARED/* $SHARED 2>/dev/null; rm -rf $SHARED; [ -z "$memory" ] || ipcrm -m "$memory"; finish; }
trap leave EXIT

# ---- users and groups
mkdir -p $SHARED && mount --bind $SHARED $SHARED && mount --make-shared $SHARED && mkdir -p $SHARED/node $SHARED/pod
for file in groups namespaces sysctls propagation token; do k apply -f $PODS/$file.yaml >/dev/null || note "apply $file failed"; done
k wait --for=condition=Ready pod -l example=identity --timeout=60s >/dev/null
is "Merge: the image's memberships are added to runAsGroup and supplementalGroups" \
    "uid=33(www-data) gid=3000(3000) groups=100(users),4000" "$(in_pod groups-merge main id)"
is "Strict: exactly what the pod says" "uid=33(www-data) gid=3000(3000) groups=4000" "$(in_pod groups-strict main id)"
is "Strict without runAsGroup: the primary group of /etc/passwd" "uid=33(www-data) gid=33(www-data) groups=4000" \
    "$(in_pod groups-strict primary id)"
is "the process is that as the node sees it" "33 3000 Groups:100 3000 4000" \
    "$(sed -nE 's/^(Uid|Gid):\t([0-9]+).*/\2/p; s/^Groups:\t/Groups:/p' /proc/"$(pid_of groups-merge main)"/status | tr '\n' ' ' | sed 's/ *$//')"

# ---- namespaces
processes=$(in_pod shared watcher 'cat /proc/[0-9]*/cmdline | tr "\0" " "')
ok "shareProcessNamespace: a container sees the other's process" has "$processes" "sleep 4711"
is "its first process is the sandbox's" /pause "$(in_pod shared watcher 'tr -d "\0" </proc/1/cmdline')"
in_pod shared worker '(sleep 0.1 &) ; exit 0' >/dev/null
zombies() { in_pod shared watcher 'cat /proc/[0-9]*/stat' | grep -c ') Z '; }
no_zombie() { [ "$(zombies)" = 0 ]; }
ok "which reaps what the containers leave" until_true 5 no_zombie
worker=$(pid_of shared worker)
kill -9 "$worker"
restarted() { [ "$(field pod shared '{.status.containerStatuses[0].restartCount}')" = 1 ]; }
ok "a container of it that is killed is started again" until_true 10 restarted
is "the other one goes on" 0 "$(field pod shared '{.status.containerStatuses[1].restartCount}')"
is "without it each container has its own processes" 1 "$(in_pod groups-merge main 'ls -d /proc/[0-9]* | grep -c "/1$"; true')"
ok "hostPID: the node's processes are seen" test "$(readlink /proc/"$(pid_of host main)"/ns/pid)" = "$(readlink /proc/self/ns/pid)"
memory=$(ipcmk -M 4096 | grep -o '[0-9]*$')
ok "hostIPC: the node's shared memory is seen" has "$(in_pod host main 'cat /proc/sysvipc/shm')" " $memory "
ok "and by others not" refuses has "$(in_pod sysctls main 'cat /proc/sysvipc/shm')" " $memory "

# ---- kernel parameters
is "sysctls are in force in the pod" "80 600 1" \
    "$(in_pod sysctls main 'cd /proc/sys; cat net/ipv4/ip_unprivileged_port_start net/ipv4/tcp_keepalive_time kernel/shm_rmid_forced' | tr '\n' ' ' | sed 's/ $//')"
ok "and not on the node" refuses grep -qx 600 /proc/sys/net/ipv4/tcp_keepalive_time
refused "a sysctl that is not the pod's alone is refused" "spec.securityContext.sysctls[1].name" \
    '{"securityContext":{"sysctls":[{"name":"net.ipv4.tcp_syncookies","value":"1"},{"name":"kernel.msgmax","value":"9"}]},"containers":[{"name":"a","image":"b"}]}'
refused "net.* with hostNetwork is refused" "may not be specified when 'hostNetwork' is true" \
    '{"hostNetwork":true,"securityContext":{"sysctls":[{"name":"net.ipv4.tcp_syncookies","value":"1"}]},"containers":[{"name":"a","image":"b"}]}'
refused "the same sysctl twice is refused" "spec.securityContext.sysctls[1]" \
    '{"securityContext":{"sysctls":[{"name":"net.ipv4.tcp_syncookies","value":"1"},{"name":"net.ipv4.tcp_syncookies","value":"0"}]},"containers":[{"name":"a","image":"b"}]}'
refused "hostPID with shareProcessNamespace is refused" "spec.shareProcessNamespace" \
    '{"hostPID":true,"shareProcessNamespace":true,"containers":[{"name":"a","image":"b"}]}'
refused "an unknown policy of groups is refused with those that are known" '"Merge", "Strict"' \
    '{"securityContext":{"supplementalGroupsPolicy":"Loose"},"containers":[{"name":"a","image":"b"}]}'
refused "a negative user is refused" "spec.containers[0].securityContext.runAsUser" \
    '{"containers":[{"name":"a","image":"b","securityContext":{"runAsUser":-1}}]}'

# ---- tokens
FOLDER=/var/run/secrets/kubernetes.io/serviceaccount
api=$(sed -n 's/^ *server: //p' "$MINIK8S_DIR/kubeconfig")
ask() { curl -s -m 5 -o /dev/null -w '%{http_code}' --cacert "$work/ca.pem" -H "Authorization: Bearer $1" "$api/api/v1/namespaces/$2"; } # TOKEN PATH
claim() { cut -d. -f2 <<<"$1" | tr '_-' '/+' | base64 -d 2>/dev/null | jq -r "$2"; }   # TOKEN FILTER
is "an account's token, the server's certificate and the namespace appear" "ca.crt namespace token " "$(in_pod token main "ls $FOLDER" | tr '\n' ' ')"
in_pod token main "cat $FOLDER/ca.crt" >"$work/ca.pem"
token=$(in_pod token main "cat $FOLDER/token")
is "with them the server is believed, and lets the account do what its role says" "200 403" "$(ask "$token" default/pods) $(ask "$token" default/secrets)"
is "the namespace" default "$(in_pod token main "cat $FOLDER/namespace")"
ok "the file cannot be written" has "$(in_pod token main "echo x > $FOLDER/token")" "Read-only"
ok "it lies in memory" has "$(in_pod token main "grep $FOLDER /proc/mounts")" "tmpfs"
is "automountServiceAccountToken: false on the pod or the account leaves it out" "none none" \
    "$(in_pod own main "ls $FOLDER 2>/dev/null || echo none") $(in_pod silent main "ls $FOLDER 2>/dev/null || echo none")"
own=$(in_pod own main "cat /access/deep/token")
is "serviceAccountToken and clusterTrustBundle (signerName) of one's own choice" "200 same" \
    "$(ask "$own" default/pods) $(in_pod own main 'cat /access/ca.pem' | cmp -s - "$work/ca.pem" && echo same)"
matches "with its own expirationSeconds" "^60[01]$" "$(claim "$own" '.exp - .iat')"
vault=$(in_pod own main "cat /access/vault")
is "a token for an audience of its own is for nobody else" "vault 401" "$(claim "$vault" '.aud[0]') $(ask "$vault" default/pods)"
review() { curl -s -m 5 --cacert "$work/ca.pem" -K "$work/admin" -H 'Content-Type: application/json' -d "{\"spec\":{\"token\":\"$vault\",\"audiences\":[\"$1\"]}}" "$api/apis/authentication.k8s.io/v1/tokenreviews" | jq -r '.status.authenticated, .status.user.username' | xargs; }
(umask 077 && sed -n 's/^ *token: \(.*\)/header = "Authorization: Bearer \1"/p' "$MINIK8S_DIR/kubeconfig" >"$work/admin")
is "which the server tells those who ask (TokenReview)" "true system:serviceaccount:default:reader, false null" "$(review vault), $(review other)"
is "every namespace has an account, which pods are without a word" "default system:serviceaccount:default:default" \
    "$(field pod groups-merge '{.spec.serviceAccountName}') $(claim "$(in_pod groups-merge main "cat $FOLDER/token")" .sub)"
is "a token is bound to its pod" "token $(field pod token '{.metadata.uid}')" "$(claim "$token" '.["kubernetes.io"].pod | .name + " " + .uid')"
k run fleeting --image=localhost/m8-busybox:1 --overrides='{"spec":{"serviceAccountName":"reader","terminationGracePeriodSeconds":0}}' -- sleep infinity >/dev/null
k wait --for=condition=Ready pod/fleeting --timeout=60s >/dev/null
fleeting=$(in_pod fleeting fleeting "cat $FOLDER/token")
before=$(ask "$fleeting" default/pods)
k delete pod fleeting >/dev/null
is "and ends with it" "200 401" "$before $(ask "$fleeting" default/pods)"
k delete serviceaccount reader >/dev/null
is "a token ends with its account" 401 "$(ask "$token" default/pods)"
refused "a pod whose account does not exist is refused" 'error looking up service account default/reader: serviceaccount "reader" not found' \
    '{"serviceAccountName":"reader","containers":[{"name":"a","image":"b"}]}'
k apply -f - >/dev/null <<'YAML'
apiVersion: apps/v1
kind: Deployment
metadata: {name: orphan}
spec:
  replicas: 2
  selector: {matchLabels: {app: orphan}}
  template:
    metadata: {labels: {app: orphan}}
    spec: {serviceAccountName: reader, terminationGracePeriodSeconds: 0, containers: [{name: a, image: "localhost/m8-busybox:1", command: [sleep, infinity]}]}
YAML
says_why() { has "$(k get events --field-selector reason=FailedCreate -o 'jsonpath={.items[*].message}')" 'serviceaccount "reader" not found'; }
ok "a Deployment of such pods tells so in an Event" until_true 10 says_why
until_true 10 says_why && sleep 5 # by now it would try every ten seconds only
since=$(now)
k create serviceaccount reader >/dev/null
within 5000 "and has its pods when the account is there" 90 ready_is orphan 2
k delete deployment orphan --wait=false >/dev/null
refused "a token for less than ten minutes is refused" "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds" \
    '{"volumes":[{"name":"v","projected":{"sources":[{"serviceAccountToken":{"path":"t","expirationSeconds":60}}]}}],"containers":[{"name":"a","image":"b"}]}'
refused "a path that leads out is refused" "serviceAccountToken.path" \
    '{"volumes":[{"name":"v","projected":{"sources":[{"serviceAccountToken":{"path":"../t"}}]}}],"containers":[{"name":"a","image":"b"}]}'

# ---- mounts that come later
mount -t tmpfs m8 $SHARED/node && echo from the node >$SHARED/node/mark
ok "HostToContainer: a later mount of the node appears" sees in "from the node"
ok "None: it does not" refuses sees none "from the node"
in_pod propagation both 'mount -t tmpfs m8 /data/pod && echo from the pod >/data/pod/mark' >/dev/null
is "Bidirectional: a mount of the container appears on the node" "from the pod" "$(cat $SHARED/pod/mark 2>&1)"
ok "and in the others that listen" sees in "from the pod"
refused "Bidirectional without privileged is refused" "spec.containers[0].volumeMounts[0].mountPropagation" \
    '{"volumes":[{"name":"v","emptyDir":{}}],"containers":[{"name":"a","image":"b","volumeMounts":[{"name":"v","mountPath":"/v","mountPropagation":"Bidirectional"}]}]}'
k delete -f $PODS/propagation.yaml >/dev/null
ok "after the pod nothing of it holds the mounts" until_true 5 umount $SHARED/pod $SHARED/node
