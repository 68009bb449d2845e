#!/usr/bin/env bash
# 43_images: images from a real registry with TLS and a password, the reasons when they cannot be had, volumes over their
# limit, logs over 16 KiB a line.
#uses: docker-registry openssl grep tr awk curl
. "$(dirname "$0")/lib.sh"
plan 26
start_cluster 1

PODS=manifests/pods
REGISTRY=127.0.0.1:5443
registry=
trap '[ -z "$registry" ] || kill "$registry"; finish' EXIT

pod() { field pod "$1" "{$2}"; }
waits() { pod "$1" '.status.containerStatuses[0].state.waiting.reason'; }
waiting() { pod "$1" '.status.containerStatuses[0].state.waiting.message'; }
says() { local want=$1; shift; [ "$("$@")" = "$want" ]; }
pull_fails() { grep -qE '^(ErrImagePull|ImagePullBackOff)$' <<<"$(waits "$1")"; }
includes() { local want=$1; shift; has "$("$@")" "$want"; }
has() { grep -qF -- "$2" <<<"$1"; }
messages() { k get events --field-selector "involvedObject.name=$1" -o 'jsonpath={range .items[*]}{.reason} {.message}{"\n"}{end}'; }
event() { has "$(messages "$1")" "$2"; }
volume() { echo "$MINIK8S_DIR/nodes/node-1/agent/volumes/$(pod "$1" .metadata.uid)/v/scratch"; }
run_image() { # POD IMAGE [MORE-OF-SPEC]
    k apply -f - >/dev/null <<<'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"'"$1"'"},"spec":{"terminationGracePeriodSeconds":0,'"${3:-}"'"containers":[{"name":"main","image":"'"$2"'","command":["sleep","infinity"]'"${4:-}"'}]}}'
}

# ---- a registry on the node's loopback: TLS, and user:sesame for everything
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=registry -addext subjectAltName=IP:127.0.0.1 \
    -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
echo 'user:$2b$04$abcdefghijklmnopqrstuuinwY/tkBVrn3xrxQI/TgnMHhkvl85RW' >"$work/htpasswd"
cat >"$work/registry.yml" <<Y
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: $REGISTRY, tls: {certificate: $work/cert.pem, key: $work/key.pem}}
auth: {htpasswd: {realm: m8, path: $work/htpasswd}}
Y
"$minik8s" cluster exec node-1 -- docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
registry=$!
trusted=$MINIK8S_DIR/nodes/node-1/podman/.config/containers/certs.d/$REGISTRY
mkdir -p "$trusted" && cp "$work/cert.pem" "$trusted/ca.crt"
until_true 10 on node-1 curl -sk "https://$REGISTRY/v2/"
ok "an image is pushed" podman_of node-1 push -q --creds user:sesame localhost/m8-busybox:1 "docker://$REGISTRY/private/busybox:1"

# ---- with and without the password
run_image locked "$REGISTRY/private/busybox:1"
ok "without imagePullSecrets: ErrImagePull or its back-off" until_true 10 pull_fails locked
ok "with the registry's words" has "$(waiting locked)" "unauthorized"
ok "and an Event" event locked "Failed to pull image \"$REGISTRY/private/busybox:1\""
k apply -f $PODS/private-image.yaml >/dev/null
ok "with imagePullSecrets it runs" k wait --for=condition=Ready pod/private --timeout=90s
pulled=$(podman_of node-1 images --format '{{.Repository}}:{{.Tag}}')
ok "the image lies on the node" has "$pulled" "$REGISTRY/private/busybox:1"
listed() { grep -qE "^  $REGISTRY/private/busybox:1 +[1-9][0-9]*[kM]$" <<<"$(k describe node node-1)"; }
ok "which describe node shows, with its size" until_true 5 listed
ok "Event: Pulling" event private "Pulling image \"$REGISTRY/private/busybox:1\""
ok "Event: Pulled, with the time it took" until_true 5 event private "Successfully pulled image \"$REGISTRY/private/busybox:1\" in"
size=$(podman_of node-1 image inspect --format '{{.Size}}' "$REGISTRY/private/busybox:1")
ok "and its size ($size)" event private "Image size: $size bytes"
k create secret docker-registry wrong --docker-server=$REGISTRY --docker-username=user --docker-password=opensaysme >/dev/null 2>&1 ||
    k apply -f - >/dev/null <<<'{"apiVersion":"v1","kind":"Secret","metadata":{"name":"wrong"},"type":"kubernetes.io/dockerconfigjson","stringData":{".dockerconfigjson":"{\"auths\":{\"'$REGISTRY'\":{\"username\":\"user\",\"password\":\"opensaysme\"}}}"}}'
run_image denied "$REGISTRY/private/busybox:1" '"imagePullSecrets":[{"name":"wrong"}],' ',"imagePullPolicy":"Always"'
ok "with a wrong password it waits" until_true 10 pull_fails denied
words=$(waiting denied; messages denied; cat "$MINIK8S_DIR"/nodes/node-1/*.log)
ok "no message and no log has a password" refuses grep -qE 'opensaysme|sesame' <<<"$words"

k apply -f - >/dev/null <<<'{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"puller"},"imagePullSecrets":[{"name":"registry"}],"automountServiceAccountToken":false}'
run_image by-account "$REGISTRY/private/busybox:1" '"serviceAccountName":"puller",' ',"imagePullPolicy":"Always"'
ok "imagePullSecrets of the ServiceAccount" k wait --for=condition=Ready pod/by-account --timeout=90s

# ---- images that cannot be had
run_image unknown "$REGISTRY/private/none:9" '"imagePullSecrets":[{"name":"registry"}],'
run_image nowhere 127.0.0.1:1/x:1
run_image wrong-name 'UPPER//case:1'
run_image never "$REGISTRY/private/never:1" '' ',"imagePullPolicy":"Never"'
ok "an image that the registry lacks" until_true 10 includes "manifest unknown" waiting unknown
ok "a registry that is not there" until_true 10 includes "connection refused" waiting nowhere
ok "a name that is none" until_true 10 says InvalidImageName waits wrong-name
ok "an image that may not be pulled" until_true 10 says ErrImageNeverPull waits never
ok "pulls are tried again, less and less" until_true 15 says ImagePullBackOff waits unknown
ok "Event: BackOff" event unknown "Back-off pulling image"
ok "nothing else is disturbed" says True pod private '.status.conditions[?(@.type=="Ready")].status'

# ---- volumes over their limit
k apply -f $PODS/size-limit.yaml >/dev/null
ok "emptyDir over its sizeLimit: the pod is evicted" until_true 20 says "Failed Evicted" pod too-much '.status.phase} {.status.reason'
ok "with an Event that names volume and limit" event too-much 'Evicted Usage of EmptyDir volume "scratch" exceeds the limit "2Mi".'
ok "what it wrote is gone" until_true 5 test ! -e "$(volume too-much)/file"
ok "within the limit it goes on" says "Running" pod enough .status.phase
is "in memory the file system refuses more" "status 1" "$(k logs enough | grep status)"

# ---- lines over 16 KiB
k exec enough -- sh -c 'head -c 40000 /dev/zero | tr "\0" x > /proc/1/fd/1; echo > /proc/1/fd/1' </dev/null
long() { [ "$(k logs enough | awk '{ if (length > n) n = length } END { print n }')" = 40000 ]; }
ok "a line of 40,000 characters comes back whole" until_true 5 long
