#!/usr/bin/env bash
# The prompt in the control plane: reads the manager's cache, writes with the user's rights, explains, tries policies, goes back in
# time; from -e, files, standard input and a terminal. Hostile input ends with an error and does not disturb the manager or others.
#uses: python3
. "$(dirname "$0")/lib.sh"
plan 49
start_cluster 2

note_manager
repl() { timeout 60 "$kubectl" repl "$@" 2>&1; }
lua() { repl -e "$1"; }
k create deployment web --image=localhost/m8-web:1 --replicas=3 >/dev/null && k rollout status deployment web --timeout=90s >/dev/null

is "the pods are counted" 3 "$(lua 'return #k.pods{}')"
matches "objects come in columns" 'default +web-.* +Running +node-[12] +10\.' "$(lua 'k.pods{ns="default", label="app=web"}')"
is "the same as podman says" "$(podman_of node-1 ps --format '{{.Image}}' | grep -c m8-web)" \
    "$(lua '#k.pods{field="spec.nodeName=node-1"}')"
is "several values, several commands" "2 3 5" "$(repl -e 'x = 2' -e 'x, 3' -e 'x + 3' | xargs)"
is "JSON" "3" "$(repl -o json -e 'k.deployments("web").status' | jq .readyReplicas)"
is "a script" "2 3" "$(repl -o json manifests/repl/nodes.lua | jq -r '"\(length) \(map(.pods) | add)"')"
is "standard input" "node-1 node-2" "$(echo 'for _, n in ipairs(k.nodes{}) do print(n.metadata.name) end' | repl | xargs)"
printf 'local x = 1\nx.y.z = 2\n' >"$work/broken.lua"
broken=$(repl "$work/broken.lua")
is "an error ends it with 1" 1 $?
matches "and names the line" "broken.lua:2: attempt to index" "$broken"
matches "a kind that is not there" 'k has no "podz"' "$(lua 'k.podz{}')"
matches "help" 'k.why\("pod/web-1"\)' "$(lua 'help()')"
matches "help of a kind" 'Deployment, in namespaces, short: deploy' "$(lua 'help(k.deployments)')"

ok "it applies" lua 'k.apply{kind="ConfigMap", metadata={name="colours"}, data={sky="blue"}}'
is "what is there then" blue "$(field configmap colours '{.data.sky}')"
before=$(lua 'k.revision()')
is "it patches, and reads what it wrote" red "$(lua 'k.patch("cm/colours", {data={sky="red"}}) return k.get("cm/colours").data.sky')"
is "and deletes" Success "$(lua 'k.delete("cm/colours").status')"
is "the past is there still" "blue" "$(lua "k.at($before).get('cm/colours').data.sky")"
is "every form of it" "ADDED MODIFIED DELETED" "$(lua 'for _, f in ipairs(k.history("cm/colours")) do print(f.type) end' | xargs)"
matches "also by time" '^[0-9]+$' "$(lua 'k.at("1s").revision')"
matches "but not the future" 'newer than the newest' "$(lua 'k.at(1e9).pods{}')"
{ sleep 0.5; lua 'k.create{kind="ConfigMap", metadata={name="seen"}}' >/dev/null; } &
matches "changes are watched" 'ADDED +default/seen' "$(lua 'k.watch{kind="configmaps", ns="default", count=1, seconds=10}')"

pod=$(lua 'k.pods{label="app=web"}[1].metadata.name')
why=$(lua "k.why('pod/$pod')")
matches "why a pod is where it is: the decision" "decision +scheduler.score → node-[12] because .*spread" "$why"
matches "the Event" "event +Scheduled: Successfully assigned default/$pod" "$why"
matches "the change" 'change .*spec.nodeName = node-[12]' "$why"
is "in order" "created spec.nodeName Ready" "$(grep -oE 'created|spec\.nodeName =|\[Ready\]\.status: False → True' <<<"$why" | sed 's/ =//; s/.*Ready.*/Ready/' | xargs)"
matches "a Deployment's: the rollout" 'decision +rollout → .*maxSurge' "$(lua 'k.why("deployment/web")')"
k expose deployment web --port=80 >/dev/null
ok "a Service of the same name is decided about" until_true 10 sh -c "'$kubectl' repl -e 'k.why(\"service/web\")' | grep 'decision *balance' >/dev/null"
is "each has its own decisions only" "balance rollout" \
    "$(for kind in service deployment; do lua "k.why('$kind/web')" | grep -oE 'decision +[a-z]+ ' | awk '{print $2}' | sort -u; done | xargs)"

plot=$(k policy log --plot)
matches "the record as a chart: decisions over time" 'scheduler\.score +[^ ].* [0-9]+$' "$plot"
matches "and where pods were put" 'node-1 .* [0-9]+$' "$plot"

new='{metadata={name="new"}, spec={containers={{name="c", image="i", resources={requests={cpu="100m"}}}}}}'
there() { # what a policy would do that wants one node: "differs? node"
    lua "local w = k.whatif{source=[[return { api = 1, point = 'scheduler.score', name = 'there',
        run = function(ctx, node) return node.name == '$1' and 100 or 0 end,
        examples = { { candidate = { name = '$1' }, expect = 100 } } }]], pod=$new} return w.differs, w.would_be.node" | xargs
}
is "a policy that is not there yet is tried: it decides otherwise, or the same" "false node-N true node-N" \
    "$(printf '%s\n' "$(there node-1)" "$(there node-2)" | sort | sed 's/node-./node-N/' | xargs)"
is "it had its way" "node-1 node-2" "$(echo "$(there node-1)" "$(there node-2)" | grep -o 'node-.' | xargs)"
now=$(lua 'k.revision()')
k scale deployment web --replicas=1 >/dev/null; until_true 20 running_is app=web 1
matches "on the past as well" 'node-[12]' "$(lua "local w = k.whatif{policy='binpack', pod='$pod', at=$now} return w.would_be.node")"
is "nothing of it was done" "" "$(k get pod new --ignore-not-found -o name)"

# rights
k create serviceaccount viewer >/dev/null
cat >"$work/role.yaml" <<'END'
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: session }
rules:
- { apiGroups: ["*"], resources: ["*"], verbs: [get, list, watch] }
- { apiGroups: [minik8s.io], resources: [repl], verbs: [create] }
END
k apply -f "$work/role.yaml" >/dev/null
k create clusterrolebinding session --clusterrole=session --serviceaccount=default:viewer >/dev/null
server=$(k config view --raw -o jsonpath='{.clusters[0].cluster.server}')
admin=$(k config view --raw -o jsonpath='{.users[0].user.token}')
token=$(curl -sk -X POST "$server/api/v1/namespaces/default/serviceaccounts/viewer/token" -H "Authorization: Bearer $admin" \
    -H 'Content-Type: application/json' -d '{"spec":{}}' | jq -r .status.token)
is "a reader reads" 1 "$(repl --token "$token" -e '#k.pods{}')"
matches "and cannot write: his rights count" 'system:serviceaccount:default:viewer" cannot' "$(repl --token "$token" -e 'k.scale("deployment/web", 5)')"
upgrade() { curl -sk -o /dev/null -w '%{http_code}' "$server/apis/minik8s.io/v1/$1" -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Key: eA==' "${@:2}"; }
is "who is unknown gets no session" 403 "$(upgrade repl)"
is "nobody but the manager hosts one" 403 "$(upgrade replhosts -H "Authorization: Bearer $admin")"

# hostile
lua 'while true do end' >"$work/loop" &
loop=$!
since=$(now)
is "beside an endless loop others work" 42 "$(lua '6 * 7')"
ok "at once" test $(($(now) - since)) -lt 1500
wait $loop
matches "the loop is stopped" 'stopped after 2000 ms of CPU time' "$(cat "$work/loop")"
matches "so is one that eats memory" 'out of memory|stopped after' "$(lua 'local t = {} for i = 1, 1e9 do t[i] = {i} end')"
matches "and strings that grow" 'out of memory' "$(lua 'local s = ("x"):rep(60000) while true do s = s .. s end')"
matches "nothing hides it" 'nil value' "$(lua 'pcall(function() while true do end end)')"
ok "the manager is the same process" same_manager
ok "and works" sh -c "'$kubectl' scale deployment web --replicas=2 >/dev/null && '$kubectl' rollout status deployment web --timeout=90s"

# a terminal
steps=$(HOME=$work timeout 120 python3 test/e2e/repl_pty.py "$kubectl" 2>&1)
is "the prompt: several lines, Ctrl-C, completion, history, Ctrl-D" \
    "multi-line value loop interrupt watch interrupt-watch complete-kind complete-name columns drop error-goes-on history leave" "$(xargs <<<"$steps")"
is "its history is the user's alone" 600 "$(stat -c %a "$work/.minik8s_history")"

"$minik8s" cluster restart manager --kill >/dev/null 2>&1
is "a new manager takes sessions" 2 "$(repl -e '1 + 1')"
