#!/bin/bash
# minikubectl against a cluster, as TAP: the running one of MINIK8S_DIR (with the image localhost/m8-busybox:1 loaded on
# every node), or, if that is not set, two nodes of its own from the build folder $BUILD. MINIKUBECTL is the program under
# test. Works in a namespace of its own and removes it.
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
unset KUBECONFIG
program=${MINIKUBECTL:-$(realpath "$BUILD/minikubectl")}
own=
if [ -z "${MINIK8S_DIR:-}" ]; then
    own=$(mktemp -d)
    export MINIK8S_DIR=/var/lib/minik8s/test-minikubectl
    "$BUILD/minik8s" cluster down --dir "$MINIK8S_DIR" >"$own/log" 2>&1
    if ! { "$BUILD/minik8s" cluster up --dir "$MINIK8S_DIR" --nodes 2 --host-names no && manifests/images/build "$own" &&
        "$BUILD/minik8s" cluster load --dir "$MINIK8S_DIR" "$own/m8-busybox-1.tar"; } >"$own/log" 2>&1; then
        sed 's/^/# /' "$own/log"
        echo "Bail out! no cluster"
        exit 1
    fi
fi
space=cli-$$
work=$(mktemp -d)
image=localhost/m8-busybox:1
count=0 failed=0
k() { timeout 40 "$program" -n "$space" "$@"; }
cleanup() {
    k patch cm held --type=merge -p '{"metadata":{"finalizers":null}}' >"$work/out" 2>&1
    timeout 60 "$program" delete namespace "$space" --ignore-not-found >"$work/out" 2>&1
    [ -z "$own" ] || "$BUILD/minik8s" cluster down --dir "$MINIK8S_DIR" >"$work/out" 2>&1
    rm -rf "$work" ${own:+"$own"}
}
trap cleanup EXIT

# verdict DESCRIPTION 0-or-1
verdict() {
    count=$((count + 1))
    if [ "$2" = 0 ]; then
        echo "ok $count - $1"
    else
        failed=$((failed + 1))
        echo "not ok $count - $1"
        sed 's/^/# /' "$work/out" | head -20
    fi
}
# says DESCRIPTION EXIT-CODE EXTENDED-REGEXP COMMAND…: the code, and a line of either output that matches
says() {
    local what=$1 code=$2 pattern=$3
    shift 3
    "$@" >"$work/out" 2>&1
    local got=$?
    [ "$got" = "$code" ] && grep -Eq -- "$pattern" "$work/out"
    verdict "$what (exit $got)" $?
}
# same DESCRIPTION EXPECTED COMMAND…: standard output is exactly this
same() {
    local what=$1 expected=$2
    shift 2
    "$@" >"$work/out" 2>"$work/err"
    [ "$(cat "$work/out")" = "$expected" ]
    verdict "$what" $?
}

cat >"$work/app.yaml" <<END
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, labels: {app: app}}
spec:
  replicas: 2
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: "$image", command: [sh, -c, "echo main speaks; exec sleep 1000"], ports: [{containerPort: 80}]}
      - {name: side, image: "$image", command: [sh, -c, "echo side speaks; exec sleep 1000"]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {one: "1", two: "2"}
END
sed '/two/s/, two: "2"//' "$work/app.yaml" >"$work/less.yaml"
printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: a, imag: b}]}\n' >"$work/typo.yaml"

says "create namespace" 0 "namespace/$space created" "$program" create namespace "$space"
says "apply --dry-run=server stores nothing" 0 'app created \(server dry run\)' k apply -f "$work/app.yaml" --dry-run=server
says "… so it is not there" 1 'NotFound' k get deploy app
says "apply creates" 0 'deployment.apps/app created' k apply -f "$work/app.yaml"
says "apply again: unchanged" 0 'deployment.apps/app unchanged' k apply -f "$work/app.yaml"
says "apply from standard input: configured" 0 'configmap/settings configured' k apply -f - <"$work/less.yaml"
same "apply removes what its manifest no longer has" '{"one":"1"}' k get cm settings -o 'jsonpath={.data}'
sed 's/one: "1"/one: "2"/' "$work/less.yaml" >"$work/other.yaml"
says "apply --server-side" 0 'configmap/settings serverside-applied' k apply --server-side -f "$work/less.yaml"
says "what another owns is a conflict" 1 '^error: Apply failed with 1 conflict: conflict with "kubectl": .data.one' k apply --server-side --field-manager=ci -f "$work/other.yaml"
says "--force-conflicts takes it" 0 'configmap/settings serverside-applied' k apply --server-side --field-manager=ci --force-conflicts -f "$work/other.yaml"
says "get -o yaml --show-managed-fields" 0 '^    manager: ci' k get cm settings -o yaml --show-managed-fields
k apply --server-side --force-conflicts -f "$work/less.yaml" >"$work/out" 2>&1
says "apply refuses an unknown field" 1 'unknown field "spec.containers\[0\].imag"' k apply -f "$work/typo.yaml"
says "rollout status waits for the end" 0 'successfully rolled out' k rollout status deploy/app --timeout=30s
says "wait for a condition" 0 'condition met' k wait deploy/app --for=condition=Available --timeout=30s
says "wait for a value" 0 'condition met' k wait deploy/app --for='jsonpath={.status.readyReplicas}=2' --timeout=30s
says "wait gives up" 1 'timed out waiting for the condition on deployments/app' k wait deploy/app --for='jsonpath={.spec.replicas}=99' --timeout=1s
pod=$(k get pods -l app=app -o 'jsonpath={.items[0].metadata.name}')

says "get: a table" 0 '^NAME +READY +STATUS +RESTARTS +AGE$' k get pods
says "get several kinds: names with kinds" 0 "^pod/$pod +2/2" k get pods,deploy
same "get -o name" deployment.apps/app k get deploy -o name
says "get -o wide" 0 'NODE' k get pods -o wide
says "get -o yaml: keys in order, times quoted" 0 '^  creationTimestamp: "20' k get cm settings -o yaml
same "get -o custom-columns" "NAME       ONE
settings   1" k get cm settings -o custom-columns=NAME:.metadata.name,ONE:.data.one
same "get several names as a List" "List app settings" k get deploy/app cm/settings -o "jsonpath={.kind} {.items[*].metadata.name}"
says "get -A shows namespaces" 0 "^$space +settings" k get cm -A
says "get --field-selector" 0 "$pod" k get pods --field-selector "metadata.name=$pod" -o name
says "get: no such name, and the nearest" 1 'Did you mean "settings"' k get cm setings
same "get --ignore-not-found" "" k get cm nothing --ignore-not-found
says "get: no such kind, and the nearest" 1 'resource type "pdos"; did you mean "pods"' k get pdos
says "get: nothing there" 0 "No resources found in $space namespace" k get svc
says "get -w shows changes and ends" 0 'settings +1' k get cm settings -w --timeout=1s

says "describe pod" 0 '^Events:' k describe pod "$pod"
k apply -f - >"$work/out" 2>&1 <<YAML
apiVersion: v1
kind: Pod
metadata: {name: full}
spec:
  nodeSelector: {no: such}
  hostNetwork: true
  restartPolicy: Never
  dnsPolicy: None
  dnsConfig: {nameservers: [10.9.9.53]}
  hostAliases: [{ip: 10.9.9.9, hostnames: [far.example]}]
  securityContext: {fsGroup: 3456}
  containers:
    - {name: c, image: "$image", imagePullPolicy: Never, workingDir: /var, ports: [{containerPort: 8080, hostPort: 8080}], lifecycle: {preStop: {sleep: {seconds: 1}}}}
YAML
for shown in 'hostNetwork: +true' 'Restart Policy: +Never' 'DNS Policy: +None' '10.9.9.53' 'far.example' 'fsGroup: 3456' 'Pull Policy: +Never' 'Working Dir: +/var' 'hostPort: 8080' 'preStop' "Image: +$image"; do
    says "describe pod shows $shown" 0 "$shown" k describe pod full
done
k delete pod full --now >"$work/out" 2>&1
says "describe by the beginning of a name" 0 "^Name: +$pod" k describe pod app-
says "describe node" 0 '^Allocat' "$program" describe nodes
says "logs take the first container and say so" 0 'Defaulted container "main" out of: main, side' k logs "$pod"
same "logs -c" "side speaks" k logs "$pod" -c side
says "logs --all-containers --prefix" 0 "^\[pod/$pod/side\] side speaks" k logs "$pod" --all-containers --prefix
says "logs of a workload" 0 'Found 2 pods, using pod/' k logs deploy/app --tail=1
says "logs of a container that is not there" 1 'container nope is not valid for pod' k logs "$pod" -c nope
says "exec: exit code" 7 'exit code 7' k exec "$pod" -c main -- sh -c 'exit 7'
head -c 5000000 /dev/urandom >"$work/big"
k exec -i "$pod" -c main -- cat <"$work/big" >"$work/back" 2>"$work/out" && cmp "$work/big" "$work/back" >"$work/out" 2>&1
verdict "exec -i: five megabytes there and back" $?
says "exec: no such pod" 1 'Error from server \(NotFound\): pods "nope" not found' k exec nope -- true

says "scale" 0 'deployment.apps/app scaled' k scale deploy app --replicas=1
says "scale only from what was expected" 1 'Expected replicas to be 9, was 1' k scale deploy app --replicas=3 --current-replicas=9
says "set image: no such container" 1 'unable to find container named "nope"' k set image deploy/app nope=x
says "rollout pause" 0 'paused' k rollout pause deploy/app
says "rollout pause twice" 1 'is already paused' k rollout pause deploy/app
says "rollout resume" 0 'resumed' k rollout resume deploy/app
says "rollout restart" 0 'restarted' k rollout restart deploy/app
says "… to its end" 0 'successfully rolled out' k rollout status deploy/app --timeout=30s
says "rollout history" 0 '^2 +<none>' k rollout history deploy/app
says "rollout undo" 0 'rolled back' k rollout undo deploy/app
says "expose" 0 'service/front exposed' k expose deploy app --port=80 --name=front
says "describe service" 0 '^Selector: +app=app' k describe svc front
says "label" 0 'configmap/settings labeled' k label cm settings colour=red
says "label does not overwrite" 1 "'colour' already has a value \(red\), and --overwrite is false" k label cm settings colour=blue
says "label removes" 0 'unlabeled' k label cm settings colour-
says "annotate by selector" 0 'annotated' k annotate deploy -l app=app why=because
says "patch" 0 'configmap/settings patched' k patch cm settings -p '{"data":{"three":"3"}}'
says "patch that changes nothing" 0 'patched \(no change\)' k patch cm settings -p '{"data":{"three":"3"}}'

# --- set, edit, replace, diff, explain ---
says "set env" 0 'deployment.apps/app env updated' k set env deploy/app COLOUR=red -c main
same "… of that container only" "red " k get deploy app -o 'jsonpath={.spec.template.spec.containers[0].env[0].value} {.spec.template.spec.containers[1].env}'
says "set env --list" 0 '^COLOUR=red$' k set env deploy/app --list
says "set env --from" 0 'env updated' k set env deploy/app --from=configmap/settings --prefix=S_
says "… refers to its keys" 0 '# S_ONE from configmap settings, key one' k set env deploy/app --list
says "set env removes" 0 'env updated' k set env deploy/app COLOUR- S_ONE- S_THREE-
same "… all of them" "" k get deploy app -o 'jsonpath={.spec.template.spec.containers[*].env[*].name}'
says "set resources" 0 'resource requirements updated' k set resources deploy/app -c main --limits=memory=64Mi --requests=cpu=10m
same "… in that container" "64Mi 10m" k get deploy app -o 'jsonpath={.spec.template.spec.containers[0].resources.limits.memory} {.spec.template.spec.containers[0].resources.requests.cpu}'
says "set resources of nothing" 1 'must specify an update to requests or limits' k set resources deploy/app
says "set serviceaccount" 0 'serviceaccount updated' k set sa deploy/app default
says "set selector" 0 'selector updated' k set selector svc/front app=app,tier=web
same "… the whole of it" '{"app":"app","tier":"web"}' k get svc front -o 'jsonpath={.spec.selector}'
says "set: a typo" 1 'did you mean image' k set imgae deploy/app x=y
cat >"$work/editor" <<'END'
#!/bin/sh
sed -i "$EDIT" "$1"
END
chmod +x "$work/editor"
EDIT='s/three: "3"/three: "4"/' EDITOR=$work/editor says "edit" 0 'configmap/settings edited' k edit cm settings
same "… what was edited is there" 4 k get cm settings -o 'jsonpath={.data.three}'
EDIT='' EDITOR=$work/editor says "edit without a change" 0 'Edit cancelled, no changes made' k edit cm settings
EDIT='s/^data:/dato:/' EDITOR=$work/editor says "edit: what is refused is told" 1 'unknown field "dato"' k edit cm settings
EDITOR=/no/such says "edit: no editor" 1 'unable to launch the editor "/no/such"' k edit cm settings
k get cm settings -o yaml >"$work/settings.yaml"
sed -i 's/three: "4"/three: "5"/' "$work/settings.yaml"
says "diff: 1 and the lines" 1 '^\+  three: "5"' k diff -f "$work/settings.yaml"
same "… nothing was changed" 4 k get cm settings -o 'jsonpath={.data.three}'
says "replace" 0 'configmap/settings replaced' k replace -f "$work/settings.yaml"
says "replace again: the revision has moved" 1 'Conflict' k replace -f "$work/settings.yaml"
sed -i '/resourceVersion/d;/uid/d' "$work/settings.yaml"
k diff -f "$work/settings.yaml" >"$work/out" 2>&1 && [ ! -s "$work/out" ]
verdict "diff: nothing" $?
says "replace --force makes it anew" 0 'settings" deleted' k replace --force -f "$work/settings.yaml"
says "explain" 0 '^FIELD: strategy' k explain deployment.spec.strategy
says "explain: fields with types" 0 '^  replicas[[:space:]]+<integer>' k explain deploy.spec
says "explain: a typo" 1 'field "spek" does not exist; did you mean spec' k explain pod.spek

# --- create from flags ---
dry() { k create --dry-run=client -o json "$@"; }
says "create job" 0 '"image": "x"' dry job once --image=x -- date
says "create cronjob" 0 '"schedule": "\*/5 \* \* \* \*"' dry cronjob tick --image=x --schedule='*/5 * * * *' -- date
says "create cronjob without its time" 1 'required flag\(s\) "schedule" not set' dry cronjob tick --image=x
says "create service clusterip" 0 '"targetPort": 8080' dry service clusterip back --tcp=80:8080
says "create service nodeport" 0 '"nodePort": 30123' dry service nodeport back --tcp=80:8080 --node-port=30123
says "create service externalname" 0 '"externalName": "x.test"' dry service externalname out --external-name=x.test
says "create secret generic" 0 '"password": "eHl6"' dry secret generic s --from-literal=password=xyz
says "create role" 0 '"pods/log"' dry role reader --verb=get,list --resource=pods,pods/log
says "create clusterrole" 0 '"apps"' dry clusterrole reader --verb=get --resource=deployments
says "create rolebinding" 0 '"name": "anna"' dry rolebinding anna --role=reader --user=anna
says "create clusterrolebinding" 0 '"namespace": "ns"' dry clusterrolebinding sa --clusterrole=view --serviceaccount=ns:sa
says "create rolebinding with two roles" 1 'exactly one of clusterrole or role' dry rolebinding anna --role=a --clusterrole=b
says "create pdb" 0 '"minAvailable": 1' dry pdb app --selector=app=app --min-available=1
says "create priorityclass" 0 '"value": 1000' dry priorityclass high --value=1000
says "create: a typo" 1 'did you mean "cronjob"' dry cornjob x
says "autoscale" 0 '(HorizontalPodAutoscaler|horizontalpodautoscaler.autoscaling)/app autoscaled' k autoscale deploy app --min=1 --max=3 --cpu=70% --dry-run=client
same "… as it was told" "app 1 3 70" k autoscale deploy app --min=1 --max=3 --cpu=70% --dry-run=client -o 'jsonpath={.spec.scaleTargetRef.name} {.spec.minReplicas} {.spec.maxReplicas} {.spec.metrics[0].resource.target.averageUtilization}'
says "autoscale without a limit" 1 '--max=MAXPODS is required' k autoscale deploy app

# --- who, where ---
says "api-versions" 0 '^apps/v1$' k api-versions
says "backup" 0 '/server/backups/one$' k backup one
says "never over an older one" 1 'is there already' k backup one
says "cluster-info" 0 '^Kubernetes control plane is running at https://' k cluster-info
says "auth can-i" 0 '^yes$' k auth can-i create deployments
says "auth can-i --as" 1 '^no' k auth can-i create deployments --as=system:serviceaccount:default:default
says "--as has no other rights" 1 'User "jane" cannot list resource "pods"' k get pods --as=jane --as-group=crew
says "auth whoami" 0 '^Username ' k auth whoami
same "… -o jsonpath" "SelfSubjectReview $(k auth whoami | awk '$1 == "Username" {print $2}')" k auth whoami -o 'jsonpath={.kind} {.status.userInfo.username}'
says "… -o json" 0 '"username": "' k auth whoami -o json
says "… -o yaml" 0 '^    username: ' k auth whoami -o yaml
same "… -o name, as kubectl" "selfsubjectreview.authentication.k8s.io/<unknown>" k auth whoami -o name
says "… an unknown format" 1 'unable to match a printer suitable for the output format "xml"' k auth whoami -o xml
says "create token" 0 '^ey' k create token default --duration=10m
says "it is the account's" 0 "system:serviceaccount:$space:default" k --token="$(k create token default)" auth whoami
says "for too short a time" 1 'spec.expirationSeconds: Invalid value: 60' k create token default --duration=1m
says "bound to nothing" 1 'bound-object-name is required' k create token default --bound-object-kind=Pod
says "bound to what is not there" 1 'pods "none" not found' k create token default --bound-object-kind=Pod --bound-object-name=none
same "for an audience, as JSON" vault k create token default --audience=vault -o 'jsonpath={.spec.audiences[0]}'
says "… and for nobody else" 1 'Unauthorized' k --token="$(k create token default --audience=vault)" get pods
says "auth can-i --list" 0 '^\*\.\*' k auth can-i --list
says "config view shows no keys" 0 'DATA\+OMITTED' k config view
says "completion" 0 '^complete .*minikubectl$' k completion bash
same "completion completes" "port-forward" bash -c "PATH=$(dirname "$program"):\$PATH; source <('$program' completion bash); COMP_WORDS=(minikubectl port-f) COMP_CWORD=1; _minikubectl; echo \${COMPREPLY[*]}"
says "-o go-template is refused with a way out" 1 'jsonpath' k get cm settings -o 'go-template={{.metadata.name}}'

# --- nodes ---
node=$("$program" get nodes -o 'jsonpath={.items[-1:].metadata.name}')
says "taint" 0 "node/$node tainted" "$program" taint node "$node" dedicated=db:NoSchedule
same "… it is there" "dedicated=db:NoSchedule" "$program" get node "$node" -o 'jsonpath={range .spec.taints[?(@.key=="dedicated")]}{.key}={.value}:{.effect}{end}'
says "taint does not overwrite" 1 'already has dedicated taint' "$program" taint node "$node" dedicated=web:NoSchedule
says "taint: a wrong effect" 1 'invalid taint effect: NoShedule.*did you mean NoSchedule' "$program" taint node "$node" a=b:NoShedule
says "untaint" 0 "node/$node untainted" "$program" taint node "$node" dedicated-
says "untaint what is not there" 1 'taint "dedicated" not found' "$program" taint node "$node" dedicated-
cat >"$work/pods.yaml" <<END
apiVersion: v1
kind: Pod
metadata: {name: bare}
spec:
  nodeName: $node
  terminationGracePeriodSeconds: 1
  containers: [{name: a, image: "$image", command: [sleep, "1000"], volumeMounts: [{name: v, mountPath: /v}]}]
  volumes: [{name: v, emptyDir: {}}]
END
k apply -f "$work/pods.yaml" >"$work/out" 2>&1
says "a pod on the node runs" 0 'condition met' k wait pod/bare --for=condition=Ready --timeout=30s
says "drain refuses bare pods and local data" 1 'declare no controller .*bare' "$program" drain "$node"
says "… the node is cordoned by then" 0 'SchedulingDisabled' "$program" get node "$node"
says "drain evicts" 0 "node/$node drained" "$program" drain "$node" --force --delete-emptydir-data --ignore-daemonsets --timeout=60s
same "… nothing is left there" "" "$program" get pods -A --field-selector "spec.nodeName=$node" -o name
says "uncordon" 0 "node/$node uncordoned" "$program" uncordon "$node"

k create cm held >"$work/out" 2>&1 && k patch cm held --type=merge -p '{"metadata":{"finalizers":["x.io/y"]}}' >"$work/out" 2>&1
says "delete waits, but not for ever" 1 'timed out' k delete cm held --timeout=1s
says "delete by selector" 0 'pod "app-.*" deleted from' k delete pods -l app=app
says "delete: nothing named" 1 'no name was specified' k delete pods
says "delete -f" 0 'deployment.apps "app" deleted' k delete -f "$work/app.yaml"
says "delete what is gone" 1 'error when deleting .*NotFound|NotFound.*error when deleting' k delete -f "$work/app.yaml"

says "unknown verb, and the nearest" 1 'get' "$program" gte
says "unknown flag, and the nearest" 1 'did you mean --watch' k get pods --wtach
says "flag of another verb" 1 'unknown flag: --replicas' k get pods --replicas=3
says "help of a verb" 0 '^Usage: minikubectl scale' "$program" scale --help
says "server away" 1 'the connection to the server https://127.0.0.1:1 failed' k get pods --server=https://127.0.0.1:1
says "no kubeconfig" 1 'there is no kubeconfig /nonexistent/k' k get pods --kubeconfig=/nonexistent/k
says "version" 0 '^Server Version: minik8s' "$program" version
echo "1..$count"
[ "$failed" = 0 ]
