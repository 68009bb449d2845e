#!/usr/bin/env bash
# apply a Deployment and a Service → six pods on three nodes answer by address and by name, from everywhere. Judged by podman,
# nftables and real connections.
. "$(dirname "$0")/lib.sh"
plan 32

start_cluster
for n in 1 2 3; do is "node-$n is Ready" True "$(field node node-$n '{.status.conditions[?(@.type=="Ready")].status}')"; done
is "the kubeconfig is for its owner only" 600 "$(stat -c %a "$MINIK8S_DIR/kubeconfig")"

ok "the demo is applied and rolled out" start_demo
per_node=""
for n in 1 2 3; do per_node+="$(podman_of node-$n ps --format '{{.Image}}' | grep -c m8-web:1) "; done
is "podman runs two web containers on each node" "2 2 2 " "$per_node"

address=$(field service web '{.spec.clusterIP}')
for n in 1 2 3; do
    ok "node-$n's kernel knows the Service" grep -q "$address" <(on node-$n nft list ruleset)
done
is "the VM's own nftables do not know it" 0 "$(nft list ruleset | grep -c "$address")"

asked_by() { # COMMAND…: how many different pods have answered when all six have or after 60 requests; or what failed
    local i answers="" seen=0
    for i in $(seq 60); do
        answers+=$("$@" 2>&1)$'\n' || { echo "request $i failed: $answers"; return 1; }
        seen=$(grep -o 'pod=web-[^ ]*' <<<"$answers" | sort -u | wc -l)
        [ "$seen" -lt 6 ] || break
    done
    echo "$seen"
}
for n in 1 2 3; do
    is "from a pod on node-$n by address" 6 "$(asked_by k exec "toolbox-node-$n" -- timeout 2 wget -qO- "http://$address/")"
    is "from a pod on node-$n by short name" 6 "$(asked_by k exec "toolbox-node-$n" -- timeout 2 wget -qO- http://web/)"
    is "from a pod on node-$n by full name" 6 "$(asked_by k exec "toolbox-node-$n" -- timeout 2 wget -qO- http://web.default.svc.cluster.local/)"
    is "from node-$n itself by name" 6 "$(asked_by on node-$n curl -sf -m 1 http://web.default.svc.cluster.local/)"
done

# A pod reaches another on another node by its own address, and is seen with its own.
pod=$(k get pods -l app=web -o wide --no-headers | awk '$7 == "node-3" {print $6; exit}')
ok "a pod on node-1 reaches a pod on node-3 by its address" k exec toolbox-node-1 -- timeout 2 wget -qO- "http://$pod:8080/"

# Scaling to nothing: the Service refuses at once.
since=$(now)
k scale deployment web --replicas=0 >/dev/null
within 15000 "scaled to 0, podman runs none" 15 sh -c "! { for n in 1 2 3; do '$minik8s' cluster podman node-\$n ps --format '{{.Image}}'; done | grep -q m8-web; }"
since=$(now)
on node-2 curl -s -m 5 "http://$address/" >/dev/null
is "a Service without endpoints refuses (curl: 7)" 7 $?
ok "at once" test $(($(now) - since)) -lt 500

# Who may ask.
server=$(awk '/server:/ {print $2}' "$MINIK8S_DIR/kubeconfig")
status() { curl -sk -m 5 -o /dev/null -w '%{http_code}' "$@"; }
is "anonymous sees health" 200 "$(status "$server/healthz")"
matches "anonymous sees no pods" '^40[13]$' "$(status "$server/api/v1/pods")"
matches "anonymous sees no secrets" '^40[13]$' "$(status "$server/api/v1/namespaces/default/secrets")"
is "a wrong token is refused" 401 "$(status -H 'Authorization: Bearer wrong' "$server/api/v1/pods")"
ok "the server's certificate is not signed by a public CA" refuses curl -s -m 5 "$server/healthz"

# Deleting the application leaves none of its rules.
k delete -f manifests/demo/ >/dev/null
is "after deletion the rules are gone on every node" 0 "$(for n in 1 2 3; do on node-$n nft list ruleset; done | grep -c "$address")"
