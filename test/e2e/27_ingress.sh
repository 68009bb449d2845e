#!/usr/bin/env bash
# Ingress and names, from manifests/ingress: judged by real connections from pods and nodes, by names as the resolvers answer them,
# and by what is left after deletion.
#uses: curl dig jq nsenter openssl ss
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/inspect.sh"
plan 121

resolv_before=$(cat /etc/resolv.conf)
start_cluster 2
"$minik8s" cluster up --host-names yes >/dev/null # names in this shell, whoever has them
k apply -f manifests/ingress/services.yaml -f manifests/ingress/ingress.yaml >/dev/null
sed '/^---$/,$d' manifests/demo/toolbox.yaml | k apply -f - >/dev/null
for one in api shop home; do k rollout status deployment "$one" --timeout=60s >/dev/null; done
k wait --for=condition=Ready pod/toolbox-node-1 --timeout=90s >/dev/null
ask() { on "$1" curl -s -m 2 "${@:2}"; }                                    # NODE ARGUMENT…
from_pod() { k exec toolbox-node-1 -- timeout 2 wget -qO- "$1"; }
app() { sed -n 's/.*pod=\([a-z]*\)-.*/\1/p'; }
address() { field ingress "$1" '{.status.loadBalancer.ingress[0].ip}'; }
answers() { [ "$(ask node-1 "http://$2" | app)" = "$1" ]; } # APP URL
names() { on "$1" dig +noall +answer +norecurse @169.254.20.10 "${@:2}" | grep .; } # NODE NAME [TYPE]
node_ip() { field node "$1" '{.status.addresses[?(@.type=="InternalIP")].address}'; }

# ---- one host, three paths, three Services
ok "shop.example.com answers" until_true 10 answers api shop.example.com/api/x
is "from a pod: /api/x" api "$(from_pod http://shop.example.com/api/x | app)"
is "from a pod: /shop" shop "$(from_pod http://shop.example.com/shop | app)"
is "from a pod: a prefix ends where a segment ends" home "$(from_pod http://shop.example.com/apix | app)"
for n in 1 2; do
    is "from node-$n: /api, /shop/x, /" "api shop home" "$(for p in api shop/x ''; do ask node-$n "http://shop.example.com/$p"; done | app | paste -sd' ')"
    is "at the address of node-$n, with a port in the Host" shop "$(ask node-1 -H 'Host: SHOP.example.com.:80' "http://$(node_ip node-$n)/shop" | app)"
done
is "both pods of a Service answer" 2 "$(for _ in {1..20}; do ask node-1 http://shop.example.com/api; done | sort -u | wc -l)"
is "a host that no rule names" 404 "$(ask node-1 -o /dev/null -w '%{http_code}' -H 'Host: other.example.com' "http://$(address shop)/")"
matches "get shows host and addresses" "shop.example.com +$(address shop),$(node_ip node-1),$(node_ip node-2) +80" "$(k get ingress shop --no-headers)"

# ---- killed while it serves
ok "the agent is killed and started" "$minik8s" cluster restart agent node-1 --kill
is "… names and paths answer all the while" api "$(ask node-1 http://shop.example.com/api | app)"

# ---- names
pod_named() { shows "A[[:space:]]$(field pod "$1" '{.status.podIP}')\$" names node-2 "$1.db.default.svc.cluster.local"; }
is "this machine's own shell: a host of an Ingress" "api" "$(curl -s -m 2 http://shop.example.com/api | app)"
is "this machine's own shell: a Service" "home" "$(curl -s -m 2 http://home.default.svc.cluster.local/ | app)"
shell_server=$(awk '{print $2}' "$MINIK8S_DIR/resolv.conf") # the two that answer this shell, from the same sockets
shell_resolver() { cut -d' ' -f1 "$MINIK8S_DIR/resolver$1.pid" 2>/dev/null; }
shell_asks() { dig +tries=1 +time=2 +short "@$shell_server" home.default.svc.cluster.local; }
came_back() { local pid; pid=$(shell_resolver "$1") && [ -n "$pid" ] && [ "$pid" != "$2" ] && [ -e "/proc/$pid" ]; }
for i in "" -2 "" -2 "" -2; do
    old=$(shell_resolver "$i")
    kill -KILL "$old"
    for _ in 1 2 3 4 5; do shell_asks || echo failed; done
    until_true 5 came_back "$i" "$old" || echo "resolver$i did not come back"
done >"$work/shell"
is "this shell's name servers are killed in turn: each question is answered, and they come back" "30 $(field service home '{.spec.clusterIP}')" \
    "$(sort "$work/shell" | uniq -c | xargs)"
kill -KILL "$(shell_resolver "")" "$(shell_resolver -2)"
ok "both are killed: up starts them" "$minik8s" cluster up --host-names yes
is "… and they answer" "$(field service home '{.spec.clusterIP}')" "$(shell_asks)"
k apply -f manifests/ingress/names.yaml >/dev/null
ok "SRV of a Service's named port" until_true 5 shows "SRV[[:space:]]0 100 80 api.default.svc.cluster.local" names node-1 _http._tcp.api.default.svc.cluster.local SRV
ok "a pod of a StatefulSet by its name" until_true 20 pod_named db-1
matches "SRV of a headless Service names its pods" "SRV[[:space:]]0 100 8080 db-0.db.default" "$(names node-1 _http._tcp.db.default.svc.cluster.local SRV)"
# each of the two name servers has its turns: of three answers two are one server's
is "all ready pods of a headless Service, each first at times" 2 "$(for _ in 1 2 3; do names node-1 db.default.svc.cluster.local | head -1; done | sort -u | wc -l)"
matches "ExternalName is a CNAME with what it leads to" "CNAME[[:space:]]api.default.svc.*[[:space:]]A[[:space:]]" "$(names node-1 alias.default.svc.cluster.local | paste -sd' ')"
matches "PTR" "PTR[[:space:]]api.default.svc.cluster.local" "$(names node-1 -x "$(field service api '{.spec.clusterIP}')")"
pod_ip=$(field pod db-0 '{.status.podIP}')
matches "a pod by its address" "A[[:space:]]$pod_ip" "$(names node-2 "${pod_ip//./-}.default.pod.cluster.local")"
is "names that lead in a circle end with an error" SERVFAIL "$(on node-1 dig @169.254.20.10 circle-a.default.svc.cluster.local | sed -n 's/.*status: \([A-Z]*\).*/\1/p')"
ok "… and an Event" until_true 5 shows "ExternalNameCircle: .*default/circle-a → default/circle-b" events_of circle-a
is "a host of an Ingress with a wildcard" "shop 404" "$(ask node-1 http://a.apps.example.com/ | app) $(ask node-1 -o /dev/null -w '%{http_code}' -H 'Host: b.a.apps.example.com' "http://$(address shop)/")"
is "a headless Service behind an Ingress: its pods answer" db "$(ask node-1 http://db.example.com/ | app)"
is "an ExternalName Service behind an Ingress" api "$(ask node-2 http://db.example.com/alias | app)"
k delete statefulset db >/dev/null
ok "… without pods: 503 with a page" until_true 10 shows "no pod that is ready" ask node-1 http://db.example.com/
ok "pods that are gone have no name" until_true 10 refuses names node-1 db-0.db.default.svc.cluster.local

# ---- names from outside; names that stay
mkdir "$work/outside" && echo "198.51.100.77 far.outside.example" >"$work/outside/far"
nsenter --net="$MINIK8S_DIR/nodes/node-2/netns" "$minik8s" resolver --names "$work/outside" --address "$(node_ip node-2)" --domain outside.example 2>"$work/outside.log" &
outside=$!
cp "$MINIK8S_DIR/resolv.conf" "$work/resolv.conf"
echo "nameserver $(node_ip node-2)" >"$MINIK8S_DIR/resolv.conf" # what the nodes' name servers ask
ok "a name from outside is asked for at the node's resolver: in a pod" until_true 5 shows 198.51.100.77 k exec toolbox-node-1 -- nslookup far.outside.example
is "… on a node" 198.51.100.77 "$(on node-1 dig +short @169.254.20.11 far.outside.example)"
is "… one that does not exist there" NXDOMAIN "$(on node-1 dig @169.254.20.10 none.outside.example | sed -n 's/.*status: \([A-Z]*\).*/\1/p')"
cp "$work/resolv.conf" "$MINIK8S_DIR/resolv.conf"
kill "$outside" && wait "$outside" 2>/dev/null
stays() { until [ -e "$work/stop" ]; do for i in 0 1; do [ "$(on node-1 dig +short +tries=1 +time=2 "@169.254.20.1$i" shop.example.com home.default.svc.cluster.local | wc -l)" = 2 ] || echo missing; done; echo asked; done >"$work/stays"; }
stays & asking=$!
for i in {1..10}; do
    k create service clusterip "other-$i" --tcp=80:80 >/dev/null
    k annotate ingress shop "x=$i" --overwrite >/dev/null; k label service home "x=$i" --overwrite >/dev/null
done
k delete service other-{1..10} >/dev/null
touch "$work/stop"; wait $asking
is "while others come, change and go no living name is missing ($(grep -c asked "$work/stays") times asked)" "" "$(grep -v asked "$work/stays")"

# ---- TLS, exact paths, expressions, rewriting
certificate() { # NAME [HOST]: makes $work/NAME.{crt,key}
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" -addext "subjectAltName=DNS:${2:-secure.example.com}" \
        -keyout "$work/$1.key" -out "$work/$1.crt" 2>/dev/null
}
secure() { ask node-2 --cacert "$work/$1.crt" "https://secure.example.com$2"; } # CERTIFICATE PATH
secure_is() { [[ "$(secure "$1" "$2")" == *"$3" ]]; }
certificate first && certificate second
k apply -f manifests/ingress/tls.yaml >/dev/null
ok "without its Secret: an Event" until_true 5 shows 'CertificateNotFound: Secret "secure-cert" does not exist' events_of secure
k create secret tls secure-cert --cert="$work/first.crt" --key="$work/first.key" >/dev/null
ok "the Secret's certificate is shown; a prefix is rewritten" until_true 10 secure_is first /v1/items "path=/internal/items"
is "an exact path" "home 404" "$(secure first /health | app) $(ask node-1 --cacert "$work/first.crt" -o /dev/null -w '%{http_code}' https://secure.example.com/health/x)"
is "a regular expression" "shop 404" "$(secure first /item-12/x | app) $(ask node-1 --cacert "$work/first.crt" -o /dev/null -w '%{http_code}' https://secure.example.com/item-x/)"
is "plain requests are sent to https" "308 https://secure.example.com/v1" "$(ask node-1 -o /dev/null -w '%{http_code} %{redirect_url}' http://secure.example.com/v1)"
k create secret tls secure-cert --cert="$work/second.crt" --key="$work/second.key" --dry-run=client -o yaml | k apply -f - >/dev/null 2>&1
ok "another certificate is in force" until_true 5 secure_is second /v1/items "path=/internal/items"
k create secret tls secure-cert --cert="$work/first.crt" --key="$work/second.key" --dry-run=client -o yaml | k replace -f - >/dev/null 2>&1
ok "a key that does not belong to its certificate: an Event" until_true 5 shows 'CertificateInvalid: .*tls.key does not belong' events_of secure-cert
ok "… and the one before stays" secure_is second /v1/items "path=/internal/items"
k apply -f - >/dev/null <<YAML
{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {name: secure-cert}, data: {tls.crt: $(printf 'no certificate' | base64), tls.key: $(printf -- '-----BEGIN PRIVATE KEY-----' | base64)}}
YAML
ok "a Secret that holds no certificate at all: an Event" until_true 5 shows 'CertificateInvalid: .*tls.crt' events_of secure-cert
ok "… and the one before stays" secure_is second /v1/items "path=/internal/items"

# ---- several certificates: a host has its own, by the name that a client asks for
certificate third sni.example.com
k create secret tls sni-cert --cert="$work/third.crt" --key="$work/third.key" >/dev/null
k apply -f - >/dev/null <<'YAML'
{apiVersion: minik8s.io/v1, kind: DNS, metadata: {name: sni}, spec: {host: sni.example.com, secretName: sni-cert, paths: [{path: /, service: home, port: 80}]}}
YAML
ok "a DNS object with a certificate: https, by its name" until_true 10 shows pod=home ask node-2 --cacert "$work/third.crt" https://sni.example.com/
is "… at port 443 of the other node's address" home "$(ask node-1 --cacert "$work/third.crt" --resolve "sni.example.com:443:$(node_ip node-2)" https://sni.example.com/ | app)"
ok "… the other host shows its own" secure_is second /v1/items "path=/internal/items"
matches "a host without a certificate: the node's own" 'CN=minik8s ingress default certificate' \
    "$(ask node-1 -kv --resolve "none.example.com:443:$(node_ip node-1)" https://none.example.com/ 2>&1)"
matches "get ingress shows ports 80 and 443" 'sni.example.com .* 80, ?443' "$(k get ingress sni --no-headers)"
k delete dns sni >/dev/null

# ---- classes
k apply -f - >/dev/null <<'YAML'
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: nginx}, spec: {controller: k8s.io/ingress-nginx}}
---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: theirs}, spec: {ingressClassName: nginx, rules: [{host: theirs.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: home, port: {number: 80}}}}]}}]}}
---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: unknown}, spec: {ingressClassName: nobody, rules: [{host: unknown.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: home, port: {number: 80}}}}]}}]}}
---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: ours}, spec: {ingressClassName: minik8s, rules: [{host: ours.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: home, port: {number: 80}}}}]}}]}}
YAML
ok "an Ingress of our class is served" until_true 10 shows pod=home ask node-1 http://ours.example.com/
is "… one of another controller's class is not" " 404" "$(field ingress theirs '{.status.loadBalancer.ingress}') $(ask node-1 -o /dev/null -w '%{http_code}' -H 'Host: theirs.example.com' "http://$(node_ip node-1)/")"
ok "… nor does anybody answer for its name" refuses names node-1 theirs.example.com
ok "a class that does not exist is told" until_true 5 shows 'there is no IngressClass "nobody"' k describe ingress unknown
k annotate ingressclass nginx ingressclass.kubernetes.io/is-default-class=true >/dev/null
ok "another controller's class is the default: what names none is left to it" until_true 5 refuses names node-1 secure.example.com
k delete ingressclass nginx >/dev/null
ok "… until it is gone" until_true 10 names node-1 secure.example.com
k delete ingress theirs unknown ours >/dev/null

pki=$MINIK8S_DIR/nodes/node-1/agent/pki
as_node() { on node-1 curl -s -m 2 -o /dev/null -w '%{http_code}' --cacert "$MINIK8S_DIR/server/pki/ca.crt" --cert "$pki/node.crt" --key "$pki/node.key" "https://$(node_ip node-1):6443/api/v1/namespaces/default/secrets/$1"; }
k create secret generic other --from-literal=a=b >/dev/null
is "a node may read the Secret that a route names, and no other" "200 403" "$(as_node secure-cert) $(as_node other)"

# ---- the short form, and who loses
k apply -f manifests/ingress/dns.yaml >/dev/null
ok "DNS: its host leads to its paths" until_true 10 shows "pod=api-.*path=/x$" ask node-2 http://example.test/api/x
matches "get dns" 'example +example.test +/api->api:80,/shop->shop:80 +[0-9.,]+ +True' "$(k get dns --no-headers)"
matches "describe dns shows the pods behind it" "/api +api:80 \($(field pod "$(k get pods -l app=api -o name | head -1 | cut -d/ -f2)" '{.status.podIP}'):8080|/api +api:80 \(10\..*:8080" "$(k describe dns example)"
matches "describe ingress shows hosts, paths and pods" "/health \(exact\) +home:80 \(10\..*:8080" "$(k describe ingress secure)"
k apply -f - >/dev/null <<'YAML'
{apiVersion: minik8s.io/v1, kind: DNS, metadata: {name: late}, spec: {host: shop.example.com, paths: [{path: /shop, service: api, port: 80}, {path: /late, service: api, port: 80}]}}
YAML
ok "of two that claim a path the younger is told" until_true 5 shows "RouteConflict.*shop.example.com/shop is served by the older Ingress default/shop" k describe dns late
is "… the path stays, and its other path is served" "shop api" "$(for p in shop late; do ask node-1 "http://shop.example.com/$p"; done | app | paste -sd' ')"
k delete dns late example >/dev/null
ok "an Ingress goes with its DNS object" until_true 5 refuses k get ingress late

# ---- while it serves: a rollout, changed routes and certificates, killed processes
k apply -f - >/dev/null <<'YAML'
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: rest}, spec: {defaultBackend: {service: {name: home, port: {name: http}}}}}
YAML
ok "a default backend answers for every host" until_true 5 shows pod=home ask node-1 "http://$(node_ip node-1)/x"
nsenter --net="$MINIK8S_DIR/nodes/node-1/netns" "$(realpath "$BUILD/test/load")" "$(node_ip node-1)" 80 100 60 --log "$work/load.log" >"$work/load.json" &
load=$!
k rollout restart deployment home >/dev/null
k rollout status deployment home --timeout=60s >/dev/null
for i in 1 2 3; do k patch ingress rest --type=json -p "[{\"op\":\"replace\",\"path\":\"/spec/defaultBackend/service/port\",\"value\":{\"number\":80}}]" >/dev/null; done
k create secret tls secure-cert --cert="$work/first.crt" --key="$work/first.key" --dry-run=client -o yaml | k apply -f - >/dev/null 2>&1
ok "a certificate changes under load" until_true 5 secure_is first /v1/items "path=/internal/items"
ok "the agent is killed under load" "$minik8s" cluster restart agent node-1 --kill
kill -TERM $load; wait $load
note "$(cat "$work/load.json")"
is "not one request failed meanwhile" 0 "$(jq -r .failed "$work/load.json")" || note "$(head -n 20 "$work/load.log")"

# Killed proxies: no connection is refused or lost before a process has accepted it.
proxy() { cut -d' ' -f1 "$MINIK8S_DIR/nodes/node-1/agent/dns-ingress/proxy-$1.pid" 2>/dev/null; }
worker() { tr ' ' '\n' <"/proc/$(proxy "$1")/task/$(proxy "$1")/children" 2>/dev/null | head -n 1; }
both_run() { [ -n "$(worker 1)" ] && [ -n "$(worker 2)" ]; }
all_answer() { # PROXY…: 20 connections wait in front of stopped proxies; those are killed, the others go on
    local waiting=() i
    kill -STOP "$(worker 1)" "$(worker 2)"
    for i in {1..20}; do ask node-1 -m 8 http://shop.example.com/shop >"$work/waiting-$i" & waiting+=($!); done
    sleep 0.4
    for i in "$@"; do kill -KILL "$(proxy "$i")" "$(worker "$i")"; done
    kill -CONT "$(worker 1)" "$(worker 2)" 2>/dev/null
    wait "${waiting[@]}"
    [ "$(cat "$work"/waiting-* | grep -c pod=shop)" = 20 ]
}
both_run
ok "proxy 1 is killed: what waits before it is answered by the other" all_answer 1
ok "… it comes back" until_true 10 both_run
ok "both are killed at once: what waits is answered as soon as they are back" all_answer 1 2
ok "… they come back" until_true 10 both_run
ok "the agent is killed" "$minik8s" cluster restart agent node-1 --kill
ok "… the next one holds the same sockets: both proxies are killed again" all_answer 1 2
until_true 10 both_run
nsenter --net="$MINIK8S_DIR/nodes/node-1/netns" "$(realpath "$BUILD/test/load")" "$(node_ip node-1)" 80 200 60 --log "$work/kills.log" >"$work/kills.json" &
load=$!
for i in 1 2 1 2 1 2; do # processes that accept, then those that look after them
    sleep 1
    if [ "$i" = 1 ]; then kill -KILL "$(worker "$i")"; else kill -KILL "$(proxy "$i")"; fi
    until_true 10 both_run
done
kill -TERM $load; wait $load
note "six kills: $(cat "$work/kills.json")"
is "six kills at 200 requests/s: no connection is refused, late, or reset before it was accepted" 0 \
    "$(jq '(.reasons.refused // 0) + (.reasons.timeout // 0)' "$work/kills.json")$(grep 'new connection, state 1' "$work/kills.log")" ||
    note "$(head -n 20 "$work/kills.log")"
ok "… what is lost was inside: $(grep -c ' new connection' "$work/kills.log") on connections of their own" test "$(grep -c ' new connection' "$work/kills.log")" -le 12
# All that could serve is killed at one instant, and with it who would start it again: what comes meanwhile waits.
node_1=$MINIK8S_DIR/nodes/node-1
pid_in() { cut -d' ' -f1 "$node_1/$1" 2>/dev/null; }
all_that_serves() { echo "$(pid_in agent.pid) $(proxy 1) $(proxy 2) $(worker 1) $(worker 2) $(pid_in network/resolver.pid) $(pid_in network/resolver-2.pid)"; }
resolvers_run() { [ -e "/proc/$(pid_in network/resolver.pid)" ] && [ -e "/proc/$(pid_in network/resolver-2.pid)" ]; }
answers_soon() { on node-1 curl -s -m 9 "http://$(node_ip node-1)/" && on node-1 dig +short +tries=1 +time=9 @169.254.20.10 home.default.svc.cluster.local; }
nobody_serves() { local pid; for pid in "$@"; do [ "$(sed 's/.*) //;s/ .*//' "/proc/$pid/stat" 2>/dev/null | tr -d 'ZX')" = "" ] || return 1; done; }
all_wait() { # COMMAND…: kills and starts again; 20 requests of each kind that come in between are answered
    local waiting=() i address victims
    address=$(node_ip node-1)
    victims=$(all_that_serves)
    kill -KILL $victims
    until_true 5 nobody_serves $victims
    rm -f "$work"/waiting-*
    for i in {1..20}; do
        on node-1 curl -s -m 30 "http://$address/" >"$work/waiting-http-$i" & waiting+=($!)
        on node-1 dig +short +tries=1 +time=30 "@169.254.20.1$((i % 2))" home.default.svc.cluster.local >"$work/waiting-name-$i" 2>&1 & waiting+=($!)
    done
    sleep 0.5 # they are there before anybody is
    "$@"
    wait "${waiting[@]}"
    [ "$(cat "$work"/waiting-http-* | grep -c pod=home)$(cat "$work"/waiting-name-* | grep -c "^$(field service home '{.spec.clusterIP}')\$")" = 2020 ]
}
ok "agent, proxies and name servers are killed at once: requests and questions that come meanwhile are answered" all_wait "$minik8s" cluster restart agent node-1 --kill
until_true 10 both_run && until_true 10 resolvers_run
holders=$(pid_in network/resolver-sockets.pid)" "$(pid_in agent/dns-ingress/sockets.pid)
kill -KILL $holders
other_holders() { [[ "$(pid_in network/resolver-sockets.pid) $(pid_in agent/dns-ingress/sockets.pid)" =~ ^[0-9]+\ [0-9]+$ ]] && [ "$(pid_in network/resolver-sockets.pid) $(pid_in agent/dns-ingress/sockets.pid)" != "$holders" ]; }
ok "who holds the sockets for that is killed: another one does" until_true 10 other_holders
kill_all() { kill -KILL $(pid_in podman/podman.pid) $(cut -d' ' -f1 "$MINIK8S_DIR"/nodes/node-2/podman/podman.pid); "$minik8s" cluster restart all --kill; }
ok "… and again, with server, manager, every agent and podman" all_wait kill_all
until_true 10 both_run && until_true 10 resolvers_run
nsenter --net="$node_1/netns" "$(realpath "$BUILD/test/load")" "$(node_ip node-1)" 80 200 60 --log "$work/all.log" >"$work/all.json" &
load=$!
sleep 1
victims=$(all_that_serves)
since=$(now)
kill -KILL $victims
"$minik8s" cluster restart agent node-1 --kill
within 1000 "killed at once at 200 requests/s: the node answers again" 10 answers_soon
took=$(($(now) - since))
sleep 1
kill -TERM $load; wait $load
note "agent, both proxies, both name servers at once: $(cat "$work/all.json")"
is "… no connection is refused, or reset before it was accepted" 0 "$(jq '.reasons.refused // 0' "$work/all.json")$(grep 'new connection, state 1' "$work/all.log")" || note "$(head -n 20 "$work/all.log")"
ok "… nor late, but where this machine was too busy to start them within a second ($took ms)" test "$(jq '.reasons.timeout // 0' "$work/all.json")" = 0 -o $took -gt 800
inside=$(grep ' new connection' "$work/all.log" | grep -vc 'nothing within')
ok "… what is lost was inside: $inside on connections of their own" test "$inside" -le 8
until_true 10 both_run

ask node-1 http://shop.example.com/shop >/dev/null # the killed ones count from 0
matches "requests are counted per Service" 'minik8s_ingress_requests_total\{namespace="default",ingress="shop",service="shop",port="80",proxy="[12]"\} [1-9]' \
    "$(k get --raw /api/v1/nodes/node-1/proxy/metrics | grep ingress_requests)"
matches "… and logged" '"host":"shop.example.com","path":"..shop","service":"default/shop:80","status":200' \
    "$(cat "$MINIK8S_DIR"/nodes/node-1/agent/dns-ingress/proxy-?.log)"

# ---- what is wrong is refused, with its place
bad() { ok "refused: $1" shows "$2" sh -c "'$kubectl' apply -f - 2>&1 <<'YAML'
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: bad}, spec: {rules: [{host: \"$3\", http: {paths: [{path: \"$4\", pathType: $5, backend: {service: {name: api, port: {${6:-number: 80}}}}}]}}]}}
YAML"; }
bad "a host that is none" 'spec.rules\[0\].host: Invalid value: "no_host"' no_host / Prefix
bad "an address as host" 'spec.rules\[0\].host: .*not an IP address' 10.0.0.1 / Prefix
bad "a label of 64 characters" 'spec.rules\[0\].host: Invalid value' "$(printf 'a%.0s' {1..64}).test" / Prefix
bad "a wildcard that is not first" 'spec.rules\[0\].host: Invalid value: "a.\*.test"' 'a.*.test' / Prefix
matches "refused: a DNS object with a host that is none" 'spec.host: Invalid value: "no host"' \
    "$(k apply -f - 2>&1 <<<'{apiVersion: minik8s.io/v1, kind: DNS, metadata: {name: bad}, spec: {host: "no host", paths: [{path: /, service: api, port: 80}]}}')"
bad "a path of 10,000 characters" 'spec.rules\[0\].http.paths\[0\].path: Too long' a.test "/$(printf 'a%.0s' {1..10000})" Prefix
bad "an expression that does not compile" 'paths\[0\].path: .*must be a regular expression: .*at character' a.test '/(x' ImplementationSpecific
bad "a path with .." "paths\[0\].path: .*must not contain '/../'" a.test /a/../b Exact
bad "a port by name and number" 'port: .*cannot set both port name & port number' a.test / Prefix 'name: a, number: 80'

# ---- what contradicts itself or the cluster is told, and the rest is served
k apply -f - >/dev/null <<'YAML'
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: odd}, spec: {rules: [
  {host: odd.example.com, http: {paths: [
    {path: /, pathType: Prefix, backend: {service: {name: home, port: {number: 80}}}},
    {path: /a, pathType: Prefix, backend: {service: {name: api, port: {number: 80}}}},
    {path: /a/b, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}},
    {path: /a/b, pathType: Exact, backend: {service: {name: home, port: {number: 80}}}},
    {path: /a, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}},
    {path: /circle, pathType: Prefix, backend: {service: {name: circle-a, port: {number: 80}}}}]}},
  {host: api.default.svc.cluster.local, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}}]}}
YAML
ok "overlapping paths: exact before prefixes, the longest prefix first" until_true 5 sh -c '[ "$(for p in x a/x a/b/x a/b; do "$@" "http://odd.example.com/$p"; done | sed -n "s/.*pod=\([a-z]*\)-.*/\1/p" | xargs)" = "home api shop home" ]' sh "$minik8s" cluster exec node-1 -- curl -s -m 2
ok "a path twice in one Ingress: the first has it, and it is told" shows 'RouteConflict.*odd.example.com/a ' k describe ingress odd
circle() { local i; for i in 1 2 3 4; do shows "no pod that is ready" ask node-1 -m 8 http://odd.example.com/circle || return; done; } # both proxies
ok "a Service that leads to itself: 503" until_true 5 circle
ok "a host inside of the cluster's domain is not taken" shows 'HostReserved.*api.default.svc.cluster.local' k describe ingress odd
is "… its Service answers as before" api "$(ask node-1 http://api.default.svc.cluster.local/ | app)"
k delete ingress odd >/dev/null

# ---- changes
k scale deployment api --replicas=0 >/dev/null
ok "no pod is left: 503 with a page" until_true 10 shows "no pod that is ready" ask node-1 http://shop.example.com/api
k patch ingress shop --type=json -p '[{"op":"replace","path":"/spec/rules/0/http/paths/0/backend/service/name","value":"home"}]' >/dev/null
since=$(now)
within 1000 "a change is in force" 5 answers home shop.example.com/api
k patch ingress shop --type=json -p '[{"op":"replace","path":"/spec/rules/0/http/paths/0/backend/service/name","value":"none"}]' >/dev/null
ok "a backend that does not exist: 503 that names it" until_true 5 shows "default/none:http.*does not exist" ask node-1 http://shop.example.com/api
ok "… and an Event" until_true 5 shows 'BackendNotFound: Service "none" does not exist' events_of shop

# ---- a proxy that cannot read its configuration anew
broken=$MINIK8S_DIR/nodes/node-2/agent/dns-ingress/default.pem
shows_certificate() { [ "$(ask "$1" --cacert "$work/$2.crt" https://secure.example.com/health | app)" = home ]; } # NODE CERTIFICATE
answers_2() { [ "$(ask node-2 "http://shop.example.com/$2" | app)" = "$1" ]; }
cp "$broken" "$work/default.pem" && echo broken >"$broken"
k create secret tls secure-cert --cert="$work/second.crt" --key="$work/second.key" --dry-run=client -o yaml | k apply -f - >/dev/null 2>&1
ok "a broken file on node-2: the other node shows the new certificate" until_true 5 shows_certificate node-1 second
ok "… its Node says why" until_true 15 shows "IngressProxyFailed.*does not read its configuration anew" k describe node node-2
k patch ingress shop --type=json -p '[{"op":"replace","path":"/spec/rules/0/http/paths/0/backend/service/name","value":"shop"}]' >/dev/null
since=$(now)
within 1000 "… what serves there follows the routes" 5 answers_2 shop api/x
ok "… and shows the certificate that it has" shows_certificate node-2 first
cp "$work/default.pem" "$broken"
ok "the file is mended: the new certificate is in force" until_true 40 shows_certificate node-2 second

# ---- a node without power
"$minik8s" cluster stop-node node-2 >/dev/null
of_node_2() { cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ' | grep -oaE "[^ ]+ [^ ]+ [^ ]*$MINIK8S_DIR/nodes/node-[2]/[^ ]*"; }
ok "a node without power: nothing of it runs, nor holds its sockets" refuses of_node_2
"$minik8s" cluster start-node node-2 >/dev/null
ok "… with power it serves again" until_true 20 sh -c "'$minik8s' cluster exec node-2 -- curl -s -m 2 http://$(node_ip node-2)/ | grep pod=home"

# ---- nothing is left
virtual=$(address shop)
k delete ingress shop secure apps rest >/dev/null
since=$(now)
for n in 1 2; do within 1000 "the name is gone, node-$n" 5 refuses names node-$n shop.example.com; done
for n in 1 2; do
    ok "no rule of the address, node-$n" until_true 5 sh -c "! '$minik8s' cluster exec node-$n -- nft list ruleset | grep -F '$virtual'"
    ok "nobody listens on 80 and 443, node-$n" until_true 5 sh -c "! '$minik8s' cluster exec node-$n -- ss -Hltn | grep -E ':(80|443) '"
done
ok "no process, no file is left" until_true 5 sh -c "! ls -A '$MINIK8S_DIR'/nodes/*/agent/dns-ingress/* '$MINIK8S_DIR'/nodes/*/network/names/*example*"
ok "no object is left" until_true 5 sh -c "[ -z \"\$('$kubectl' get ingressroutes -A -o name; '$kubectl' get service -n kube-system -o name)\" ]"
"$minik8s" cluster down >"$work/down.log" 2>&1
ok "down: this machine's resolver is not the cluster's any more" refuses grep -qF "$MINIK8S_DIR" /etc/resolv.conf
if [[ $resolv_before != "# minik8s"* ]]; then is "… but as it was" "$resolv_before" "$(cat /etc/resolv.conf)"
else ok "… another cluster of this machine has it" true; fi # it may come or go meanwhile
