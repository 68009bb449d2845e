#!/usr/bin/env bash
# The real kubectl 1.35, unmodified, against a cluster of minik8s: what people type every day.
#uses: diff
story=kubectl
. "$(dirname "$0")/../e2e/lib.sh"
plan 142

start_cluster
real=$(ci/fetch-client kubectl) && old=$(ci/fetch-client kubectl 29) || { echo "Bail out! no kubectl"; exit 1; }
KUBECONFIG=$("$minik8s" cluster kubeconfig)
export KUBECONFIG HOME=$work
r() { "$real" --request-timeout=30s "$@" 2>&1; }
w() { timeout 60 "$real" "$@" 2>&1; } # without a request timeout: watches
says() { matches "$1" "$2" "$(r "${@:3}")"; } # NAME PATTERN ARGUMENTS…

# --- create, apply, get ---
says "create -f" 'deployment.apps/web created' create -f manifests/demo/web.yaml
says "create -f again is refused" 'AlreadyExists' create -f manifests/demo/web.yaml
says "apply" 'pod/toolbox-node-1 created' apply -f manifests/demo/toolbox.yaml
is "apply again: nothing changes" "unchanged unchanged unchanged" "$(r apply -f manifests/demo/toolbox.yaml | awk '{print $2}' | xargs)"
says "server-side apply" 'serverside-applied' apply --server-side -f - <<<'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"ssa"},"data":{"a":"1"}}'
ok "rollout status" r rollout status deployment web --timeout=60s
ok "wait --for=condition" r wait --for=condition=Ready pod -l app=toolbox --timeout=60s
says "get, a table" '^web +6/6 +6 +6 ' get deployment
says "get -o wide" 'toolbox-node-2 .*10\.244\.[0-9.]+ +node-2' get pods -o wide
is "get -o json" 6 "$(r get deployment web -o json | jq .spec.replicas)"
says "get -o yaml" '^  replicas: 6' get deployment web -o yaml
is "get -o name" deployment.apps/web "$(r get deployment -o name)"
is "get -o jsonpath" "6 web" "$(r get deployment web -o 'jsonpath={.status.readyReplicas} {.metadata.name}')"
is "get -o custom-columns" "NAME web" "$(r get deployment -o custom-columns=NAME:.metadata.name | xargs)"
is "get -l" 3 "$(r get pods -l app=toolbox -o name | wc -l)"
is "get --field-selector" pod/toolbox-node-3 "$(r get pods -l app=toolbox --field-selector spec.nodeName=node-3 -o name)"
says "get all" 'service/web ' get all
says "get nodes" 'node-1 +Ready ' get nodes
says "what is not there" 'NotFound.*"nothing" not found' get pod nothing

# --- look ---
says "describe pod" 'Node: +node-1/' describe pod toolbox-node-1
says "describe deployment" '6 desired \| 6 updated \| 6 total \| 6 available' describe deployment web
says "describe service" 'Endpoints: +10\.244\.' describe service web
says "describe node" 'Allocated resources' describe node node-1
says "get events" 'Scheduled' get events
says "api-resources" '^deployments +deploy +apps/v1 +true +Deployment' api-resources
says "api-versions" '^apps/v1$' api-versions
says "explain" 'replicas.*<integer>' explain deployment.spec
says "explain of one field" 'FIELD: replicas' explain deployment.spec.replicas
is "auth can-i" yes "$(r auth can-i create deployments)"
matches "auth can-i --as" "^no" "$(r auth can-i create deployments --as=system:serviceaccount:default:default)"
matches "--as has no other rights" 'User "jane" cannot list resource "pods"' "$(r get pods --as=jane --as-group=crew 2>&1)"
says "auth whoami" 'Username' auth whoami
who() { r --token="$1" auth whoami -o "jsonpath={.status.userInfo.${2:-username}}"; } # TOKEN [FIELD]
token=$(r create token default --duration=10m)
is "create token" system:serviceaccount:default:default "$(who "$token")"
matches "--duration" '^60[01]$' "$(cut -d. -f2 <<<"$token" | tr '_-' '/+' | base64 -d 2>/dev/null | jq '.exp - .iat')"
says "a token for less than ten minutes is refused" 'spec.expirationSeconds: Invalid value: 60' create token default --duration=1m
matches "--audience: it is for nobody else" 'Unauthorized' "$(who "$(r create token default --audience=vault)")"
is "--bound-object-kind=Pod" '["toolbox-node-1"]' "$(who "$(r create token default --bound-object-kind=Pod --bound-object-name=toolbox-node-1)" 'extra.authentication\.kubernetes\.io/pod-name')"
is "--bound-object-kind=Node" '["node-2"]' "$(who "$(r create token default --bound-object-kind=Node --bound-object-name=node-2)" 'extra.authentication\.kubernetes\.io/node-name')"
says "bound to what is not there" 'pods "none" not found' create token default --bound-object-kind=Pod --bound-object-name=none
says "to an object that was made anew" 'UID in the bound object reference' create token default --bound-object-kind=Node --bound-object-name=node-2 --bound-object-uid=other
r create secret generic lock >"$work/lock"
token=$(r create token default --bound-object-kind=Secret --bound-object-name=lock)
before=$(who "$token")
r delete secret lock >"$work/lock"
matches "--bound-object-kind=Secret: it ends with the Secret" '^system:serviceaccount:default:default .*Unauthorized' "$before $(who "$token")"
says "create token for an account that is not there" 'serviceaccounts "none" not found' create token none
says "create token is a right of its own" 'cannot create resource "serviceaccounts/token"' --token="$(r create token default)" create token default
says "version" 'Server Version: v1\.35' version
says "cluster-info" 'is running at' cluster-info
ok "cluster-info dump" r cluster-info dump --output-directory="$work/dump"
matches "its files" '"kind": "ReplicationControllerList"' "$(cat "$work/dump/kube-system/replication-controllers.json")"

# --- a ReplicationController ---
r apply -f manifests/workloads/replicationcontroller.yaml >"$work/rc"
ok "its pods are ready" r wait --for=jsonpath='{.status.readyReplicas}'=3 rc/keeper --timeout=90s
cheap=$(r get pods -l app=keeper -o name | sed -n 2p)
r annotate "$cheap" controller.kubernetes.io/pod-deletion-cost=-1 >"$work/rc"
r scale rc/keeper --replicas=2 >"$work/rc"
ok "the pod that costs least to delete goes first" r wait --for=delete "$cheap" --timeout=30s
is "the others stay" 2 "$(r get rc keeper -o 'jsonpath={.status.replicas}')"
r expose rc keeper --port=80 >"$work/rc"
is "expose" '{"app":"keeper"}' "$(r get service keeper -o 'jsonpath={.spec.selector}')"
ok "delete" r delete rc/keeper service/keeper --wait --timeout=60s

# --- logs, exec, cp ---
says "logs" 'listens on port 8080' logs deployment/web
pod=$(r get pods -l app=web -o 'jsonpath={.items[0].metadata.name}')
is "logs --tail" 1 "$(r logs "$pod" --tail=1 | wc -l)"
r run counter --image=localhost/m8-busybox:1 --restart=Never --command -- sh -c 'for i in 1 2 3 4 5; do echo line $i; sleep 0.3; done' >"$work/run"
matches "run" 'pod/counter created' "$(cat "$work/run")"
ok "wait --for=jsonpath" r wait --for=jsonpath='{.status.phase}'=Running pod/counter --timeout=90s
is "logs -f until the end" "line 5" "$(w logs -f counter | tail -n 1)"
is "exec" toolbox-node-2 "$(r exec toolbox-node-2 -- hostname)"
r exec toolbox-node-1 -- sh -c 'exit 7' >/dev/null
is "exec: the exit code" 7 $?
is "exec: standard input" 12345 "$(echo 12345 | r exec -i toolbox-node-3 -- cat)"
is "exec: standard error is apart" out "$("$real" exec toolbox-node-1 -- sh -c 'echo out; echo err >&2' 2>/dev/null)"
is "exec: a megabyte comes through whole" "$(head -c 1000000 /dev/zero | md5sum)" "$(head -c 1000000 /dev/zero | r exec -i toolbox-node-2 -- md5sum)"
echo "copied $story" >"$work/file"
ok "cp into a pod" r cp "$work/file" toolbox-node-2:/tmp/file
ok "cp out of a pod" r cp toolbox-node-2:/tmp/file "$work/back"
is "it is the same" "copied $story" "$(cat "$work/back" 2>&1)"

mkdir -p "$work/folder/inner" && cp "$work/file" "$work/folder/inner/"
ok "cp a folder into a pod" r cp "$work/folder" toolbox-node-2:/tmp/folder
ok "cp a folder out of a pod" r cp toolbox-node-2:/tmp/folder "$work/folder.back"
ok "it is the same" diff -r "$work/folder" "$work/folder.back"
matches "logs --timestamps" '^20[0-9T:.-]+Z line 1' "$(r logs counter --timestamps | head -n 1)"
is "logs --limit-bytes" "line 1" "$(r logs counter --limit-bytes=7)"
is "logs --since-time" "" "$(r logs counter --since-time=2099-01-01T00:00:00Z)"
says "logs -l --prefix" '^\[pod/web-[a-z0-9-]+/web\] .*listens' logs -l app=web --prefix --tail=1
r run ticker --image=localhost/m8-busybox:1 --restart=Never --command -- sh -c 'while sleep 0.2; do echo tick; done' >"$work/run"
ok "wait until it ticks" r wait --for=condition=Ready pod/ticker --timeout=90s
timeout 3 "$real" attach ticker >"$work/attached" 2>&1
ok "attach" test "$(grep -c tick "$work/attached")" -ge 5
is "run -i --rm: output and exit" "hello" "$(echo hello | w run once -i --rm -q --image=localhost/m8-busybox:1 --restart=Never --command -- cat)"
ok "debug --copy-to" r debug ticker --copy-to=copy --container=ticker --image=localhost/m8-busybox:1 --attach=false -- sleep 500
is "its command is the new one" "sleep 500" "$(r get pod copy -o 'jsonpath={.spec.containers[0].command[*]}')"
ok "debug: a container in the pod" r debug ticker --profile=general --container=look --image=localhost/m8-busybox:1 --attach=false -- sleep 400
ok "it runs" r wait --for=jsonpath='{.status.ephemeralContainerStatuses[0].state.running}' pod/ticker --timeout=90s

# --- port-forward, also by a kubectl that knows only SPDY ---
forward() { # KUBECTL ARGUMENTS…: in the background; $forward, $work/forward
    : >"$work/forward" # what the last one said is no answer of this one
    "$1" port-forward "${@:2}" >"$work/forward" 2>&1 &
    forward=$!
    until_true 5 grep -q Forwarding "$work/forward"
}
head -c 5000000 /dev/urandom >"$work/big"
for program in "$real" "$old"; do
    version=${program##*-}
    forward "$program" deployment/web 19100:8080 19101:8080
    matches "kubectl $version port-forward deployment" 'pod=web-' "$(curl -s -m 5 http://127.0.0.1:19100/)"
    is "20 connections at a time, on two ports" 20 "$(seq 20 | xargs -P 20 -I{} sh -c 'curl -s -m 10 http://127.0.0.1:1910$(({} % 2))/' | grep -c pod=web-)"
    is "5 MB" 5000000 "$(curl -s -m 20 'http://127.0.0.1:19100/bytes?n=5000000' | wc -c)"
    kill $forward && wait $forward 2>/dev/null
    forward "$program" service/web 19102:80
    matches "service" 'pod=web-' "$(curl -s -m 5 http://127.0.0.1:19102/)"
    kill $forward && wait $forward 2>/dev/null
    forward "$program" toolbox-node-1 19103:81
    refuses curl -s -m 5 http://127.0.0.1:19103/ >/dev/null
    ok "a port where nobody listens" until_true 5 grep -q 'error forwarding port 81 to pod .*connection refused' "$work/forward"
    kill $forward 2>/dev/null; wait $forward 2>/dev/null
done
is "kubectl 1.29 exec over SPDY: exit code" 7 "$("$old" exec toolbox-node-1 -- sh -c 'exit 7' >/dev/null 2>&1; echo $?)"
is "standard input" "$(md5sum <"$work/big")" "$("$old" exec -i toolbox-node-1 -- md5sum <"$work/big")"
ok "kubectl 1.29 cp" "$old" cp "$work/big" toolbox-node-1:/tmp/big
forward "$real" pod/ticker 19104:80
r delete pod ticker --wait=false >/dev/null
wait $forward
is "the end of the pod ends port-forward" 1 $?

# --- change ---
says "label" 'labeled' label deployment web tier=front
says "annotate" 'annotated' annotate deployment web note=x
says "patch, strategic" 'patched' patch deployment web -p '{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"EXTRA","value":"1"}]}]}}}}'
is "it kept the rest of the container" "localhost/m8-web:1 3" "$(r get deployment web -o json | jq -r '.spec.template.spec.containers[0] | "\(.image) \(.env | length)"')"
says "patch, merge" 'patched' patch deployment web --type=merge -p '{"metadata":{"labels":{"tier":null}}}'
says "patch, json" 'patched' patch deployment web --type=json -p '[{"op":"replace","path":"/spec/replicas","value":4}]'
is "all of them are in force" "null 4" "$(r get deployment web -o json | jq -r '"\(.metadata.labels.tier) \(.spec.replicas)"')"
says "scale" 'scaled' scale deployment web --replicas=3
says "set image" 'image updated' set image deployment/web web=localhost/m8-web:2
ok "rollout status of the new version" r rollout status deployment web --timeout=60s
says "rollout history" 'REVISION' rollout history deployment web
says "rollout undo" 'rolled back' rollout undo deployment web
ok "rollout restart" r rollout restart deployment web
says "set env" 'env updated' set env deployment/web COLOUR=red
says "set resources" 'resource requirements updated' set resources deployment/web --limits=memory=96Mi
is "they are in force" "red 96Mi" "$(r get deployment web -o json | jq -r '.spec.template.spec.containers[0] | "\(.env[] | select(.name == "COLOUR").value) \(.resources.limits.memory)"')"
printf '#!/bin/sh\nsed -i "s/COLOUR: .*/COLOUR: blue/; s/value: red/value: blue/" "$1"\n' >"$work/editor" && chmod +x "$work/editor"
is "edit" "deployment.apps/web edited" "$(EDITOR=$work/editor "$real" edit deployment web 2>&1)"
is "what was edited is there" blue "$(r get deployment web -o json | jq -r '.spec.template.spec.containers[0].env[] | select(.name == "COLOUR").value')"
says "taint" 'node/node-3 tainted' taint node node-3 dedicated=db:NoSchedule
says "untaint" 'node/node-3 untainted' taint node node-3 dedicated-
says "drain" 'node/node-3 drained' drain node-3 --force --ignore-daemonsets --delete-emptydir-data --timeout=60s
is "nothing is left there" "" "$(r get pods -A --field-selector spec.nodeName=node-3 -o name)"
says "uncordon" 'uncordoned' uncordon node-3
r apply -f manifests/demo/toolbox.yaml >/dev/null; r wait --for=condition=Ready pod/toolbox-node-3 --timeout=90s >/dev/null
sed 's/replicas:/replica:/' manifests/demo/web.yaml >"$work/typo.yaml"
says "a typo in a field is refused with its path" 'unknown field "spec.replica"' create -f "$work/typo.yaml"
says "--dry-run=server" 'created \(server dry run\)' create configmap dry --from-literal=a=1 --dry-run=server
says "and made nothing" 'NotFound' get configmap dry
sed 's/replicas: 6/replicas: 5/' manifests/demo/web.yaml >"$work/five.yaml"
says "diff" '^\+  replicas: 5' diff -f "$work/five.yaml"

# --- bodies in protobuf ---
says "create configmap" 'configmap/pb created' create configmap pb --from-literal=key=value
says "create namespace" 'namespace/pb created' create namespace pb
says "create deployment" 'deployment.apps/pb created' -n pb create deployment pb --image=localhost/m8-web:1
says "expose" 'exposed' -n pb expose deployment pb --port=80

# --- apply at the server: who owns what ---
configmap() { printf '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"owned"},"data":%s}' "$1"; } # DATA
at_server() { configmap "$1" | r apply --server-side -f - "${@:2}"; }                                       # DATA FLAGS…
data() { r get configmap owned -o 'jsonpath={.data}'; }
matches "apply --server-side" 'owned serverside-applied' "$(at_server '{"a":"1","b":"1"}')"
matches "what another owns is a conflict" 'Apply failed with 1 conflict: conflict with "kubectl": .data.a' "$(at_server '{"a":"2"}' --field-manager=ci)"
is "and changes nothing" '{"a":"1","b":"1"}' "$(data)"
matches "--force-conflicts" 'serverside-applied' "$(at_server '{"a":"2"}' --field-manager=ci --force-conflicts)"
at_server '{}' >"$work/out"
is "what is left out goes, not what another has taken" '{"a":"2"}' "$(data)"
matches "--show-managed-fields" 'manager: ci' "$(r get configmap owned -o yaml --show-managed-fields)"
r patch configmap owned --type=merge -p '{"data":{"a":"3"}}' >"$work/out"
matches "a patch takes what it changes" 'conflict with "kubectl-patch" using v1 at .*: .data.a' "$(at_server '{"a":"2"}' --field-manager=ci)"
matches "diff --server-side" '^\+  b: "1"' "$(at_server '{"a":"3"}' >"$work/out"; configmap '{"b":"1"}' | r diff --server-side --force-conflicts -f -)"
r delete configmap owned >"$work/out"
for program in "$real" "$old"; do # from client-side apply, and back
    version=$("$program" version --client -o json | jq -r .clientVersion.gitVersion)
    configmap '{"a":"1","b":"1"}' | "$program" apply -f - >"$work/out" 2>&1
    configmap '{"a":"2","c":"1"}' | "$program" apply --server-side -f - >>"$work/out" 2>&1
    is "$version: apply, then apply --server-side" '{"a":"2","c":"1"}' "$(data)"
    configmap '{"a":"3"}' | "$program" apply -f - >>"$work/out" 2>&1
    is "and back" 3 "$(r get configmap owned -o 'jsonpath={.data.a}')"
    r delete configmap owned >>"$work/out"
done
is "a key without a value is the empty text" '{"EMPTY":""}' "$(printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: empty}\ndata:\n  EMPTY:\n' | r create -f - >"$work/out"; r get configmap empty -o 'jsonpath={.data}')"

# --- watch, delete ---
w get pods -l app=toolbox -w --output-watch-events >"$work/watch" &
watch=$!
until_true 5 grep -q '^ADDED.*toolbox-node-3' "$work/watch"
says "delete, waits" 'pod "toolbox-node-3" deleted' delete pod toolbox-node-3
is "it is gone" "" "$(r get pod toolbox-node-3 --ignore-not-found)"
ok "get -w has seen it" until_true 5 grep -q '^DELETED.*toolbox-node-3' "$work/watch"
kill $watch 2>/dev/null
says "delete -f" 'deleted' delete -f manifests/demo/web.yaml
says "delete namespace, with what is in it" 'namespace "pb" deleted' delete namespace pb --timeout=90s
