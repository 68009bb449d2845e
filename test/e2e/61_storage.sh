#!/usr/bin/env bash
# Storage: claims are bound, volumes made, mounted, kept and removed as manifests/storage says. A real SSH server in a network
# namespace of its own on the cluster's network is the storage that several nodes use one after another.
#uses: ip sshd ssh-keygen pgrep
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/inspect.sh"
plan 61
FILES=manifests/storage
HOST=/tmp/m8-storage
trap 'end_server; rm -rf "$HOST"; finish' EXIT
rm -rf "$HOST" && mkdir -p "$HOST/local" "$HOST/export"
start_cluster 2

# A machine of its own with an SSH server, on the cluster's network.
start_server() {
    local node bridge
    node=$(field node node-1 '{.status.addresses[?(@.type=="InternalIP")].address}')
    bridge=$(ip -o route get "$node" | sed -n 's/.* dev \([^ ]*\).*/\1/p')
    server=${node%.*}.240
    for name in host user; do ssh-keygen -q -t ed25519 -N '' -C '' -f "$work/$name" || return 1; done
    hostkey=$(cut -d' ' -f1,2 "$work/host.pub")
    cat >"$work/sshd_config" <<END
Port 2222
ListenAddress $server
HostKey $work/host
AuthorizedKeysFile $work/user.pub
PidFile $work/sshd.pid
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
END
    mkdir -p /run/sshd
    ip netns add m8storage && ip link add m8storage0 master "$bridge" up type veth peer name eth0 netns m8storage &&
        ip -n m8storage addr add "$server/24" dev eth0 && ip -n m8storage link set eth0 up &&
        ip netns exec m8storage /usr/sbin/sshd -f "$work/sshd_config" -E "$work/sshd.log"
}
end_server() {
    local pid
    for pid in $(ip netns pids m8storage 2>/dev/null); do kill -KILL "$pid"; done
    ip link del m8storage0 2>/dev/null
    ip netns del m8storage 2>/dev/null
    true
}
deliver() { sed "s/SERVER/$server/; s|ssh-ed25519 HOSTKEY|$hostkey|" "$FILES/$1" | k apply -f - >/dev/null; }

phase() { field "$1" "$2" '{.status.phase}'; }
is_phase() { [ "$(phase "$1" "$2")" = "$3" ]; }
in_pod() { timeout 10 "$kubectl" exec "$1" -- sh -c "$2" 2>&1 </dev/null; }
ready() { k wait --for=condition=Ready "pod/$1" --timeout=90s; }
gone() { ! k get "$1" "$2"; }
told() { grep -qE -- "$2" <<<"$(events_of "$1")"; } # OBJECT PATTERN: in its Events
mounts_of() { # NODE VOLUME: how the kernel lists it
    grep -F " $MINIK8S_DIR/nodes/$1/agent/mounts/$2/data " /proc/self/mountinfo | sed 's/.* - \([^ ]*\) .*/\1/'
}
is_mounted() { [ "$(mounts_of "$1" "$2")" = fuse.sshfs ]; }
no_mount() { [ -z "$(mounts_of "$1" "$2")" ] && [ ! -e "$MINIK8S_DIR/nodes/$1/agent/mounts/$2" ]; }
sshfs_of() { pgrep -f "^sshfs .* $MINIK8S_DIR/nodes/$1/agent/mounts/$2/data$"; } # NODE VOLUME: its process
pending_why() { grep -qF -- "$2" <<<"$(field pod "$1" '{.status.conditions[?(@.type=="PodScheduled")].message}')"; }

# ---- made by hand
k apply -f $FILES/static.yaml >/dev/null
ok "static: a pod with claims on hostPath and local volumes is ready" ready static
is "the claim got the volume that suits" "static-host Bound" "$(field pvc static-host '{.spec.volumeName} {.status.phase}')"
is "kubectl's columns" "static-local|1Gi|RWO|Retain|Bound|default/static-local|disks" \
    "$(k get pv static-local --no-headers | awk '{print $1"|"$2"|"$3"|"$4"|"$5"|"$6"|"$7}')"
is "the pod runs where the local volume is" node-2 "$(node_of static)"
in_pod static 'echo host >/host/file; echo part >/part/file; echo disk >/disk/file'
is "its files lie in the folders of the machine" "host part disk" "$(cat $HOST/host/file $HOST/host/part/file $HOST/local/file | xargs)"
is "the volume is seen twice" disk "$(in_pod static 'cat /seen/file')"
ok "where it is readOnly nothing is written" refuses in_pod static 'echo x >/seen/file'
k delete pvc static-host --wait=false >/dev/null
ok "a claim in use stays and says for whom" until_true 5 told static-host 'ClaimInUse: .*pods that use the claim: static'
is "it is Terminating" Terminating "$(k get pvc static-host --no-headers | awk '{print $2}')"
k delete pod static --timeout=90s >/dev/null
ok "it goes with its pod" until_true 5 gone pvc static-host
ok "Retain: the volume is Released" until_true 5 is_phase pv static-host Released
is "and its data is there" host "$(cat $HOST/host/file)"

# ---- on demand
k apply -f $FILES/dynamic.yaml >/dev/null
ok "dynamic: the pod is ready" ready dynamic
is "the default class was taken" local-path "$(field pvc data '{.spec.storageClassName}')"
is "allowedTopologies: on node-2" node-2 "$(node_of dynamic)"
folder=$(field pv "$(field pvc data '{.spec.volumeName}')" '{.spec.local.path}')
in_pod dynamic 'echo data >/data/file'
is "a folder of that node" data "$(cat "$folder/file")"
is "fsGroup owns it" "4242 2777" "$(stat -c '%g %a' "$folder")"
k delete pod dynamic --timeout=90s >/dev/null
k delete pvc data >/dev/null
ok "Delete: the volume goes with its claim" until_true 5 gone pv "$(basename "$folder")"
ok "and its folder" test ! -e "$folder"
ok "it was said how the volume came" told data 'ProvisioningSucceeded: Successfully provisioned volume .* on node-2'

is "Immediate: bound without a pod" Bound "$(phase pvc kept)"
volume=$(field pvc kept '{.spec.volumeName}')
at=$(field pv "$volume" '{.metadata.annotations.minik8s\.io/node}')
keeper() {
    k apply -f - >/dev/null <<END
apiVersion: v1
kind: Pod
metadata: {name: keeper}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{name: d, persistentVolumeClaim: {claimName: kept}}]
  containers: [{name: main, image: "localhost/m8-busybox:1", command: [sh, -c, "date >>/d/log; sleep infinity"], volumeMounts: [{name: d, mountPath: /d}]}]
END
}
keeper
ok "a pod writes into it" ready keeper
k delete pod keeper --timeout=90s >/dev/null
keeper
ok "the next pod with the claim" ready keeper
is "goes back to the node of the volume" "$at" "$(node_of keeper)"
is "and finds what the first one wrote" 2 "$(in_pod keeper 'wc -l </d/log')"
folder=$(field pv "$volume" '{.spec.local.path}')
k delete pod keeper --timeout=90s >/dev/null
k delete pvc kept >/dev/null
ok "Retain: the volume is Released" until_true 5 is_phase pv "$volume" Released
is "its folder stays" 2 "$(wc -l <"$folder/log")"
k delete pv "$volume" >/dev/null
is "also without the object" 2 "$(wc -l <"$folder/log")"

# ---- of a pod's own
k apply -f $FILES/ephemeral.yaml >/dev/null
ok "ephemeral: the pod is ready with a claim of its own" ready scratchpad
is "which is bound" "Bound scratch" "$(field pvc scratchpad-scratch '{.status.phase} {.metadata.labels.kind}')"
folder=$(field pv "$(field pvc scratchpad-scratch '{.spec.volumeName}')" '{.spec.local.path}')
ok "its folder is there" test -d "$folder"
k patch pvc scratchpad-scratch -p '{"spec":{"resources":{"requests":{"storage":"3Gi"}}}}' >/dev/null
grown() { [ "$(field pvc scratchpad-scratch '{.status.capacity.storage}')" = 3Gi ]; }
ok "allowVolumeExpansion: a claim grows" until_true 5 grown
k delete pod scratchpad --timeout=90s >/dev/null
ok "the claim goes with the pod" until_true 10 gone pvc scratchpad-scratch
ok "and the folder" until_true 5 test ! -e "$folder"

# ---- on an SSH server: written on one node, read on the other
start_server || note "no server: $(cat "$work/sshd.log")"
k create secret generic storage-key --from-file=ssh-privatekey="$work/user" >/dev/null
deliver sshfs.yaml
ok "sshfs: a pod on node-1 is ready" ready writer
in_pod writer 'echo from node-1 >/remote/file'
is "what it writes lies on the server" "from node-1" "$(cat $HOST/export/file)"
is "and is seen through the read-only volume" "from node-1" "$(in_pod writer 'cat /read/file')"
ok "where nothing is written" refuses in_pod writer 'echo x >/read/file'
ok "one mount for the volume" is_mounted node-1 remote
key=$MINIK8S_DIR/nodes/node-1/agent/mounts/remote/secret/key
is "the key is 0600 in memory" "600 tmpfs" "$(stat -c %a "$key") $(stat -fc %T "$key")"
secret=$(sed -n 2p "$work/user")
ok "and in no log" refuses grep -rqF "$secret" "$MINIK8S_DIR" --include='*.log' --include=log
process=$(sshfs_of node-1 remote)
"$minik8s" cluster restart agent node-1 --kill >/dev/null
is "the agent dies: its mount goes on" "from node-1" "$(cat "${key%secret/key}data/file")"
ok "the next agent is there" k wait --for=condition=Ready node/node-1 --timeout=90s
is "the same sshfs" "$process" "$(sshfs_of node-1 remote)"
k delete pod writer --timeout=90s >/dev/null
ok "the last pod goes: no mount, no folder" until_true 10 no_mount node-1 remote
is "no process" "" "$(sshfs_of node-1 remote)"
# the same pod once more, elsewhere
reader() { sed -n '/^kind: Pod$/,$p' $FILES/sshfs.yaml | sed '1i apiVersion: v1' | sed 's/name: writer/name: reader/; s/nodeName: node-1/nodeName: node-2/' | k apply -f - >/dev/null; }
reader
ok "a pod on node-2 takes over" ready reader
is "and reads what was written on node-1" "from node-1" "$(in_pod reader 'cat /remote/file')"
kill -KILL "$(sshfs_of node-2 remote)"
ok "its sshfs dies: it is mounted again" until_true 10 is_mounted node-2 remote
k delete pod reader --timeout=90s >/dev/null
reader
ok "the next pod" ready reader
is "reads again" "from node-1" "$(in_pod reader 'cat /remote/file')"
k delete pod reader --wait=false >/dev/null & # its agent finds it ending: it never wanted the mount of the earlier one
"$minik8s" cluster restart agent node-2 --kill --down-for 2 >/dev/null
ok "deleted while its agent was away: no mount, no folder" until_true 10 no_mount node-2 remote
is "and no process" "" "$(sshfs_of node-2 remote)"

# ---- such volumes on demand
deliver sshfs-class.yaml
both() { [ "$(ls "$HOST"/export/pvc-*/ 2>/dev/null | wc -l)" = 2 ]; }
ok "sshfs on demand: both pods write into one folder of the server" until_true 20 both
k delete deployment shared >/dev/null
k delete pvc shared --timeout=90s >/dev/null
empty() { [ "$(ls "$HOST/export")" = file ]; }
ok "Delete: the claim goes, its folder and no other" until_true 20 empty

# ---- where the kernel has no nfs
k apply -f $FILES/nfs.yaml >/dev/null
reason=NoNfsInKernel words='the kernel of this node has no nfs'
! grep -qw nfs4 /proc/filesystems || { reason=MountFailed words='mount nfs 127.0.0.1:/exports/data'; }
ok "nfs: the pod says why it waits" until_true 10 told nfs "FailedMount: .*$words"
refused() { [ "$(field pvc nfs '{.status.conditions[?(@.type=="Mountable")].status} {.status.conditions[?(@.type=="Mountable")].reason}')" = "False $reason" ]; }
ok "the claim too, as a condition" until_true 5 refused

# ---- nothing is left
ok "cluster down" "$minik8s" cluster down
is "no mount is left" "" "$(grep -F "$MINIK8S_DIR" /proc/self/mountinfo)"
is "no sshfs is left" "" "$(pgrep -f "$MINIK8S_DIR.*/mounts/")"
ok "no folder is left" test ! -e "$MINIK8S_DIR"
