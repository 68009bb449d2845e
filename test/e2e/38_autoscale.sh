#!/usr/bin/env bash
# Autoscalers: load makes pods and the end of load takes them away, within the speed that the behaviour sets, without a failed
# request; a Service as target; what is told about each decision; bad input; the manager killed in the middle.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/inspect.sh"
plan 57
start_cluster

replicas_are() { [ "$(field deployment "$1" '{.spec.replicas}')" = "$2" ]; }
condition() { k get hpa "$1" -o "jsonpath={.status.conditions[?(@.type==\"$2\")].$3}"; }
condition_is() { [ "$(condition "$1" "$2" "$3")" = "$4" ]; }
has_event() { grep -qE "$1.*$2" <<<"$(k get events)"; }
try() { k apply -f - 2>&1; }

# --- bad input: errors with the field's path ---
bad() { # JSON-PATCH-LIKE jq expression over a good one
    k get --raw /apis/autoscaling/v2 >/dev/null
    jq -n '{apiVersion: "autoscaling/v2", kind: "HorizontalPodAutoscaler", metadata: {name: "bad"}, spec: {maxReplicas: 3,
        scaleTargetRef: {apiVersion: "apps/v1", kind: "Deployment", name: "x"},
        metrics: [{type: "Resource", resource: {name: "cpu", target: {type: "Utilization", averageUtilization: 50}}}]}}' | jq "$1" | try
}
matches "min above max" 'spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`' "$(bad '.spec.minReplicas = 4')"
matches "negative min" 'spec.minReplicas: Invalid value: -1' "$(bad '.spec.minReplicas = -1')"
matches "no max" 'spec.maxReplicas: Required' "$(bad 'del(.spec.maxReplicas)')"
matches "a metric without its source" 'spec.metrics\[0\].resource: Required' "$(bad 'del(.spec.metrics[0].resource)')"
matches "a metric without a target" 'spec.metrics\[0\].resource.target: Required' "$(bad 'del(.spec.metrics[0].resource.target)')"
matches "a target without its value" 'spec.metrics\[0\].resource.target.averageUtilization: Required' "$(bad 'del(.spec.metrics[0].resource.target.averageUtilization)')"
matches "negative utilization" 'averageUtilization: Invalid value: -5' "$(bad '.spec.metrics[0].resource.target.averageUtilization = -5')"
matches "External is refused" 'spec.metrics\[0\].type: Invalid value: "External": nothing outside of the cluster is measured' "$(bad '.spec.metrics[0].type = "External"')"
matches "a policy without a period" 'spec.behavior.scaleUp.policies\[0\].periodSeconds: Required' "$(bad '.spec.behavior.scaleUp.policies = [{type: "Pods", value: 1}]')"
bad '.spec.scaleTargetRef.kind = "Banana"' >/dev/null
ok "an unknown kind of target: a condition tells" until_true 5 condition_is bad AbleToScale reason FailedGetScale
matches "by name" 'no matches for kind "Banana"' "$(condition bad AbleToScale message)"
ok "and an Event" until_true 5 has_event FailedGetScale Banana
k delete hpa bad >/dev/null

# --- up to max under load ---
k apply -f manifests/autoscale/web.yaml -f manifests/autoscale/hpa.yaml >/dev/null
ok "the server runs" k rollout status deployment burner --timeout=90s
ok "figures arrive" until_true 10 condition_is burner ScalingActive status True
matches "get hpa" '^burner +Deployment/burner +cpu: [0-9]+%/100% +1 +5 +1 ' "$(k get hpa burner)"
k apply -f manifests/autoscale/load.yaml >/dev/null
until_true 20 k exec load -- true
since=$(now)
second_serves() { [ "$(field deployment burner '{.status.readyReplicas}')" -ge 2 ]; }
within 3000 "load step → first new pod serving" 20 second_serves
ok "five pods under load" until_true 25 replicas_are burner 5
ok "all are ready" until_true 20 ready_is burner 5
ok "on different nodes" test "$(k get pods -l app=burner -o 'jsonpath={range .items[*]}{.spec.nodeName}{"\n"}{end}' | sort -u | wc -l)" -ge 2
address=$(field service burner '{.spec.clusterIP}')
answering() { on node-1 sh -c "for i in \$(seq 80); do curl -sf -m 2 http://$address/; done" | grep -o 'pod=[^ ]*' | sort -u | wc -l; }
five_answer() { [ "$(answering)" = 5 ]; }
ok "each of them answers through the Service" until_true 10 five_answer
ok "limited by the maximum: a condition tells" until_true 10 condition_is burner ScalingLimited reason TooManyReplicas
described=$(k describe hpa burner)
matches "describe: the decision and its reason" '1 -> [2-5] +cpu above target \([0-9]+ % of it\)' "$described"
matches "describe: the chart" '[0-9]+ %  \|##+ [0-9]+' "$described"
is "the same data as JSON" true "$(k get hpa burner -o json | jq '.status.history[-1] | .load > 100 and .wanted >= 5')"
plot=$(k policy log --plot --object=default/burner --kind=hpa)
matches "policy log --plot: the load over time" 'default/burner: load, % of the target' "$plot"
matches "… and what was decided" 'default/burner: replicas \(autoscale.limit\)' "$plot"
is "… as JSON" true "$(k policy log -o json --object=default/burner --kind=hpa | jq '[.decisions[].result] | any(.ratio > 1) and any(.replicas == 5)')"
matches "k.whatif: what another policy would want" '"replicas":50' "$(k repl -e 'json(k.whatif{policy="step", hpa="burner", settings={up=45}}.decisions)')"
looks=$(k policy log -o json --object=default/burner --point=autoscale.decide --tail=1000 | jq -c '[.decisions[].time[0:19] + "Z" | fromdate] | [length, last - first]')
ok "one look at each round of figures, a second apart: $looks" jq -e '.[0] <= .[1] * 1.4 + 3' <<<"$looks"
ok "an Event tells the reason" has_event SuccessfulRescale 'New size: [2-5]; reason: cpu above target'

# --- the manager dies in the middle; down to min without a failed request ---
"$minik8s" cluster restart manager --kill >/dev/null
k delete pod load --wait=false >/dev/null
since=$(now)
load_service=burner start_load "requests while pods go" 50 "$minik8s" cluster exec node-2 --
ok "down to one pod after the load, with another manager" until_true 40 replicas_are burner 1
ok "not before the window of 4 s" test $(($(now) - since)) -ge 4000
one_left() { [ "$(for n in 1 2 3; do podman_of node-$n ps --format '{{.Names}}'; done | grep -c '^m8_web_burner')" = 1 ]; }
ok "podman runs one" until_true 15 one_left
end_load "requests while pods go"
ok "and they were many" test "$(jq -r '.sent' "$work/requests while pods go.json")" -gt 200
k delete -f manifests/autoscale/hpa.yaml >/dev/null

# --- the behaviour sets the speed (4 s instead of 15) ---
sed 's/periodSeconds: 15/periodSeconds: 4/' manifests/autoscale/slow.yaml | k apply -f - >/dev/null
ok "the slow one runs" k rollout status deployment slow --timeout=90s
slow_ip=$(k get pods -l app=slow -o 'jsonpath={.items[0].status.podIP}')
on node-1 curl -sf -o /dev/null "http://$slow_ip:8080/alloc?mb=120"
ok "three pods in the end" until_true 30 replicas_are slow 3
times=$(k get hpa slow -o json | jq -r '.status.changes[] | "\(.from)\(.to) \(.at)"')
is "one at a time" "12 23" "$(awk '{print $1}' <<<"$times" | xargs)"
ok "not faster than the behaviour allows: $(xargs <<<"$times")" awk 'NR == 1 {a = $2} NR == 2 {exit !($2 - a >= 4000)}' <<<"$times"
ok "and not much slower" awk 'NR == 1 {a = $2} NR == 2 {exit !($2 - a <= 8000)}' <<<"$times"
k delete -f manifests/autoscale/slow.yaml >/dev/null

# --- a Service as target, requests per second ---
k apply -f manifests/autoscale/by-service.yaml >/dev/null
ok "the shop runs" k rollout status deployment shop --timeout=90s
shop=$(field service shop '{.spec.clusterIP}')
on node-3 sh -c "while [ -e '$work' ] && [ ! -e '$work/closed' ]; do curl -sf -m 2 http://$shop/ http://$shop/ http://$shop/ http://$shop/ http://$shop/ http://$shop/ http://$shop/ http://$shop/; done" >/dev/null &
buying=$!
more_than_one() { [ "$(field deployment shop '{.spec.replicas}')" -ge 2 ]; }
ok "requests per second make pods of the workload behind the Service" until_true 25 more_than_one
matches "get hpa shows both metrics" 'http_requests_per_second: [0-9]+m?/40 \(avg\), http_requests_in_flight: [0-9]+m?/50' "$(k get hpa shop)"
touch "$work/closed"
wait $buying
ok "and back to one" until_true 40 replicas_are shop 1

# --- an Ingress: requests per second as the proxies of all nodes count them ---
k apply -f manifests/autoscale/by-ingress.yaml >/dev/null
ok "front runs" k rollout status deployment front --timeout=90s
ok "a route that nobody asked for counts 0" until_true 15 shows 'minik8s_ingress_requests_per_second: 0m?/30 \(avg\)' k get hpa front
clients=()
for n in 2 3; do # two nodes: their figures are added up
    on node-$n sh -c "while [ -e '$work' ] && [ ! -e '$work/quiet' ]; do curl -s -m 2 -o /dev/null -w '%{http_code}\n' -H 'Host: front.example.com' 'http://$(field node node-$n '{.status.addresses[0].address}')/[1-5]'; sleep 0.04; done" >"$work/front-$n" 2>&1 &
    clients+=($!)
done
until_true 10 sh -c "[ -s '$work/front-2' ] && [ -s '$work/front-3' ]"
front_pods() { [ "$(field deployment front '{.spec.replicas}')" -ge 2 ]; }
ok "they make pods" until_true 25 front_pods
matches "describe tells the reason" 'minik8s_ingress_requests_per_second above target' "$(k describe hpa front)"
rate() { k get nodes.metrics.k8s.io "$1" -o json | jq -r '[.objects[]? | select(.kind == "Ingress" and .name == "front").metrics[].value // "0m" | rtrimstr("m") | tonumber / 1000] | add // 0 | round'; }
told=0 served=$(cat "$work"/front-[23] | wc -l) since=$(now)
for i in 1 2 3 4 5; do sleep 1; told=$((told + $(rate node-2) + $(rate node-3))); done
served=$((($(cat "$work"/front-[23] | wc -l) - served) * 1000 / ($(now) - since)))
ok "as many as the clients had answered: $((told / 5))/s told, $served/s answered" awk -v a=$((told / 5)) -v b=$served 'BEGIN {exit !(a > b * 0.75 && a < b * 1.25)}'
is "by the node that served them" 0 "$(rate node-1)"
before=$(field deployment front '{.spec.replicas}')
for i in 1 2; do kill -KILL "$(cut -d' ' -f1 "$MINIK8S_DIR/nodes/node-2/agent/dns-ingress/proxy-$i.pid")"; sleep 1.5; done
"$minik8s" cluster restart agent node-3 --kill >/dev/null
sane() { [ "$(rate node-2)" -le $((served * 2)) ] && [ "$(rate node-3)" -le $((served * 2)) ] && [ "$(rate node-2)" -gt 0 ] && [ "$(rate node-3)" -gt 0 ]; }
ok "proxies and an agent are killed: the counters that begin anew stay a rate" until_true 15 sane
ok "… and nothing was taken away" test "$(field deployment front '{.spec.replicas}')" -ge "$before"
touch "$work/quiet"
wait "${clients[@]}"
ok "and back to one" until_true 40 replicas_are front 1
k patch hpa front --type=json -p '[{"op":"replace","path":"/spec/metrics/0/object/describedObject/name","value":"none"}]' >/dev/null
ok "an Ingress that nobody counts: a condition tells" until_true 15 condition_is front ScalingActive reason FailedGetObjectMetric
matches "… by name" 'Ingress "none" is not there, or has no pods to ask' "$(condition front ScalingActive message)"
k delete -f manifests/autoscale/by-ingress.yaml >/dev/null

k apply -f - >/dev/null <<END
apiVersion: apps/v1
kind: Deployment
metadata: {name: intruder}
spec:
  selector: {matchLabels: {app: shop, who: intruder}}
  template:
    metadata: {labels: {app: shop, who: intruder}}
    spec: {containers: [{name: web, image: "localhost/m8-web:1", args: ["8080"]}]}
END
ok "pods of two workloads behind the Service: ambiguous" until_true 20 condition_is shop AbleToScale reason AmbiguousTarget
k apply -f - >/dev/null <<<'{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","metadata":{"name":"old"},"spec":{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"intruder"},"maxReplicas":2,"targetCPUUtilizationPercentage":60}}'
is "a manifest of autoscaling/v1 is the older form of the same" "cpu 60" "$(field hpa old '{.spec.metrics[0].resource.name} {.spec.metrics[0].resource.target.averageUtilization}')"
