#!/usr/bin/env bash
# What may be changed of a Service and of an autoscaler is changed while 300 requests a second go through it, half over kept
# connections, half over new ones: none fails, and each change is in force.
#uses: nsenter
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/inspect.sh"
plan 21

start_cluster 2
k apply -f manifests/demo/web.yaml >/dev/null
sed '/^---$/,$d' manifests/demo/toolbox.yaml | k apply -f - >/dev/null
ok "the demo runs" k rollout status deployment web --timeout=90s
ok "and a pod that asks" k wait --for=condition=Ready pod/toolbox-node-1 --timeout=60s
ip=$(field service web '{.spec.clusterIP}') node=$(field node node-2 '{.status.addresses[?(@.type=="InternalIP")].address}')
service() { k patch service web --type="${2:-merge}" -p "$1" >/dev/null; }
who() { on node-1 curl -s -m 2 "$1" | sed -n 's/.*pod=\([^ ]*\).*/\1/p'; } # URL
some() { local i; for ((i = 0; i < $2; i++)); do who "$1"; done; }          # URL TIMES
answers() { [ -n "$(who "$1")" ]; }
one_pod() { [ "$(some "http://$ip/" 6 | sort -u | wc -l)" = 1 ]; }
many_pods() { [ "$(some "http://$ip/" 12 | sort -u | wc -l)" -ge 3 ]; }
served_by() { [ "$(k get pods -l app=web --no-headers | grep -c ' Running ')" = "$1" ]; }
start_load "from node-2" 150 "$minik8s" cluster exec node-2 --
start_load "from a pod on node-1" 150 nsenter -t "$(pid_of toolbox-node-1 busybox)" -n

# ---- Service
service '[{"op":"replace","path":"/spec/ports/0/name","value":"front"},{"op":"add","path":"/spec/ports/-","value":{"name":"more","port":81,"targetPort":8080}}]' json
ok "a port is added, and the other one has another name" until_true 5 answers "http://$ip:81/"
service '[{"op":"replace","path":"/spec/ports/1/port","value":82}]' json
ok "a port gets another number" until_true 5 answers "http://$ip:82/"
ok "… and has lost the old one" until_true 5 refuses answers "http://$ip:81/"
service '{"spec":{"type":"NodePort"}}'
port=$(field service web '{.spec.ports[0].nodePort}')
ok "ClusterIP becomes NodePort" until_true 5 answers "http://$node:$port/"
service '{"spec":{"externalTrafficPolicy":"Local"}}'
ok "externalTrafficPolicy: Local" until_true 5 answers "http://$node:$port/"
service '{"spec":{"externalIPs":["198.51.100.9"]}}'
ok "externalIPs" until_true 5 answers http://198.51.100.9/
service '{"spec":{"externalIPs":null,"type":"ClusterIP"}}'
ok "back to ClusterIP: the node port is gone" until_true 5 refuses answers "http://$node:$port/"
service '{"spec":{"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":60}}}}'
ok "sessionAffinity: one client, one pod" until_true 5 one_pod
service '{"spec":{"sessionAffinity":"None","sessionAffinityConfig":null}}'
ok "and without it many" until_true 5 many_pods
service '{"metadata":{"annotations":{"minik8s.io/balance":"source-hash"}}}'
ok "balance: source-hash" until_true 5 one_pod
service '{"metadata":{"annotations":{"minik8s.io/balance":"random"}}}'
ok "balance: random" until_true 5 many_pods
k label pods -l app=web colour=blue >/dev/null
service '{"spec":{"selector":{"app":null,"colour":"blue"}}}'
ok "another selector finds the same pods" until_true 5 many_pods
service '{"spec":{"selector":{"app":"web","colour":null}}}'
service '{"spec":{"publishNotReadyAddresses":true}}'
service '{"spec":{"publishNotReadyAddresses":false}}'
ok "and the first one again" many_pods

# ---- HorizontalPodAutoscaler
k autoscale deployment web --min=4 --max=4 --cpu=80% >/dev/null
ok "an autoscaler with at most four: two pods go" until_true 30 served_by 4
k patch hpa web --type=merge -p '{"spec":{"minReplicas":7,"maxReplicas":7}}' >/dev/null
ok "its limits are seven: three come" until_true 30 served_by 7
k patch hpa web --type=merge -p '{"spec":{"minReplicas":3,"maxReplicas":3,"behavior":{"scaleDown":{"stabilizationWindowSeconds":0}}}}' >/dev/null
ok "its limits are three: four go" until_true 30 served_by 3
k delete hpa web >/dev/null
ok "it is deleted: three stay" served_by 3
sleep 2 # what the last change did is in the load
end_load "from node-2"
end_load "from a pod on node-1"
