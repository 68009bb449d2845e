#!/usr/bin/env bash
# What was decided can be looked up, taken again exactly, and compared with what another policy would have decided: from the
# record, and live beside the active ones. Choices and settings change without a restart.
. "$(dirname "$0")/lib.sh"
plan 103
start_cluster

note_manager
log() { k policy log -o json "$@"; }
deploy() { # NAME REPLICAS: waits until all run
    k create deployment "$1" --image=localhost/m8-web:1 --replicas="$2" >/dev/null && k rollout status deployment "$1" --timeout=90s
}

listed() { grep -qE "$1" <<<"$(k policy list)"; }
says() { grep -qE "$2" <<<"$(k describe node "$1")"; }

ok "three pods run" deploy web 3
is "each of their placements is in the log" 3 \
    "$(log --point=scheduler.score | jq '[.decisions[] | select(.object | startswith("default/web-")) | select(.result.node)] | length')"
pod=$(k get pods -l app=web -o jsonpath='{.items[0].metadata.name}')
node=$(k get pod "$pod" -o jsonpath='{.spec.nodeName}')
matches "one pod: its node, who put it there, and why" "scheduler.score +Pod +default/$pod +$node .*spread@.*$node [0-9]+ \(spread" "$(k policy log --object="default/$pod")"
matches "the Deployment's rollout is there too" 'rollout +Deployment +default/web .*rolling@' "$(k policy log --point=rollout)"
matches "the limits are shown" 'at most 36000 decisions and 64 MiB' "$(k policy log --tail=1)"
is "with inputs: what the pod asked for, the seed" "true" "$(log --object="default/$pod" | jq '.decisions[0] | has("ctx") and has("seed") and .revision > 0')"
replay=$(k policy test --replay=10m)
is "taken again, every decision is the same" 0 $?
matches "and it says how many" '^[0-9]+ decisions: ([0-9]+) the same, 0 ' "$replay"

cat >"$work/first.lua" <<'END'
return {
    api = 1, point = "scheduler.score", name = "first",
    settings = { node = "node-1" },
    run = function(ctx, node) return node.name == ctx.settings.node and 100 or 0 end,
    examples = { { name = "there", candidate = { name = "node-1" }, expect = 100 } },
}
END
test=$(k policy test "$work/first.lua" --replay=10m)
is "a candidate is tried on the past" 0 $?
matches "it would have put two of three elsewhere" 'scheduler.score: .* [0-9]+ would differ' "$test"
matches "where it was and would be" "default/web-[^ ]+ +node-[23] +node-1" "$test"
matches "what it would have meant: fewer nodes" 'nodes +3 +1' "$test"
sed -i 's/node-1"/node-2"/' "$work/first.lua"
matches "with one constant changed the list is another" "default/web-[^ ]+ +node-[13] +node-2" "$(k policy test "$work/first.lua" --replay=10m)"
ok "the cluster has not heard of it" refuses k get policy first

ok "policy shadow: it decides beside" k policy shadow "$work/first.lua"
ok "three more pods run" deploy again 3
is "without effect" "node-1 node-2 node-3" "$(k get pods -l app=again -o jsonpath='{range .items[*]}{.spec.nodeName}{"\n"}{end}' | sort | xargs)"
is "what it would have decided stands beside" 2 "$(log --point=scheduler.score | jq '[.decisions[] | select(.object | startswith("default/again-")) | select(.shadowDiffers and .shadowResult.node == "node-2")] | length')"
ok "a second candidate joins" k policy shadow scheduler.score first binpack
k run beside --image=localhost/m8-web:1 >/dev/null
k wait pod/beside --for=condition=Ready --timeout=60s >/dev/null
matches "both stand in the log" 'default/beside +node-[123] +first (=|≠) node-[123], binpack (=|≠) node-' "$(k policy log --object=default/beside --point=scheduler.score)"
k delete pod beside --wait=false >/dev/null
ok "policy shadow none" k policy shadow scheduler.score none

ok "policy disable takes one out" k policy disable scheduler.score preferred
is "the others decide" "spread least-requested" "$(k policy list | awk '$1 == "scheduler.score" && $5 == "Active" {print $2}' | xargs)"
ok "policy settings" k policy settings autoscale.decide target-utilization tolerance=0.25
is "are in force" 0.25 "$(k get policyprofile cluster -o jsonpath='{.spec.points[?(@.point=="autoscale.decide")].policies[0].settings.tolerance}')"
ok "a namespace with a strategy of its own" k apply -f manifests/policies/team.yaml
ok "policy use -n says it in one line" k policy use scheduler.score binpack -n team
active_in() { k policy list "$@" | awk '$1 == "scheduler.score" && $5 == "Active" {print $2}' | xargs; }
there() { k policy settings scheduler.score binpack -n team | jq -c .resources; }
ok "policy settings -n" k policy settings scheduler.score binpack 'resources={"cpu":1,"memory":0}' -n team
is "are in force there" '{"cpu":1,"memory":0}' "$(there)"
ok "policy rollback -n takes them back" k policy rollback scheduler.score -n team
is "there alone: the cluster's choice stays" '{"cpu":1,"memory":1} binpack, spread least-requested' "$(there) $(active_in -n team), $(active_in)"
matches "policy disable -n: the only one there" 'binpack is the only one that decides' "$(k policy disable scheduler.score binpack -n team 2>&1)"
matches "a namespace that is not there" 'namespaces "taem" not found' "$(k policy use scheduler.score binpack -n taem 2>&1)"
ok "policy use NAME=WEIGHT" k policy use scheduler.score spread=7 least-requested
ok "again: what decides already keeps its weight" k policy use scheduler.score spread binpack
matches "policy list shows it" 'scheduler.score +spread .* Active +weight 7$' "$(k policy list)"
is "as JSON, too" "7 score" "$(k policy list -o json | jq -r '.[] | select(.point == "scheduler.score") | "\(.policies[0].weight) \(.shape)"')"
ok "policy use default" k policy use scheduler.score default
is "the shipped choice" "spread preferred least-requested" "$(active_in)"
ok "a filter joins, also one about neighbours" sh -c "'$kubectl' policy use scheduler.filter.near affinity && '$kubectl' policy list | grep -q '^scheduler.filter.near *topology-spread .* Active'"

# Wrong use is told, not passed over.
says_of() { k policy "$@" 2>&1; }
matches "a setting that nobody reads" 'not changed: .*has no such setting; it has tolerance' "$(says_of settings autoscale.decide target-utilization tolerence=0.3)"
matches "one of another kind" 'not changed: .*tolerance: must be a number' "$(says_of settings autoscale.decide target-utilization tolerance=high)"
is "the settings of before stay" 0.25 "$(k policy settings autoscale.decide target-utilization | jq .tolerance)"
matches "one argument too many" 'what is "preferred"' "$(says_of disable scheduler.score spread preferred)"
matches "a flag that says nothing there" 'policy list takes no --plot' "$(says_of list --plot)"
matches "a form that there is not" 'policy log -o yaml: text, or json' "$(says_of log -o yaml)"
matches "a point that is not there" 'did you mean "scheduler.score"' "$(says_of log --point=scheduler.scor)"
matches "a kind that is not there" 'the server doesn.t have a resource type "Podd"' "$(says_of log --kind=Podd)"
matches "a policy of another point" 'policy "binpack" is for scheduler.score, not for rollout' "$(says_of use rollout binpack)"
matches "a policy instead of a point" 'binpack is a policy, not a point; its point is scheduler.score' "$(says_of rollback binpack)"
versions() { # one policy that gives each node VERSION
    printf 'return { api = 1, point = "scheduler.score", name = "flat", run = function() return %s end,\n    examples = { { ctx = {}, candidate = {}, expect = %s } } }\n' "$1" "$1" >"$work/flat.lua"
    k policy apply -f "$work/flat.lua" >/dev/null
}
flat() { field policy flat '{.spec.source}' | sed -n 's/.*return \([0-9]\) end.*/\1/p'; }
versions 1
matches "a policy that was never changed" 'policy flat has not been changed since it was made' "$(says_of rollback flat)"
versions 2
matches "a policy's text is everybody's" 'leave -n out' "$(says_of rollback flat -n team)"
ok "policy rollback NAME: the text before, also of one that is not in use" k policy rollback flat
is "… is there again, and accepted" "1 Inactive" "$(flat) $(field policy flat '{.status.state}')"
k delete policy flat >/dev/null
matches "a weight where none counts" 'policies of rollout have no weight' "$(says_of use rollout canary=3)"
is "decisions about objects of one namespace" "default" "$(log -n default --tail=500 | jq -r '[.decisions[].object | split("/")[0]] | unique | join(" ")')"
mkdir "$work/folder"
sed 's/name = "first",/settings_of = { name = "other", point = "rollout" }, name = "one",/' "$work/first.lua" >"$work/folder/one.lua"
sed 's/name = "first"/name = "two"/' "$work/first.lua" >"$work/folder/two.lua"
is "policy apply -f FOLDER; the name is that of the policy's own table" "one two" "$(k policy apply -f "$work/folder" | grep -oE '/(one|two) created' | tr -d / | cut -d' ' -f1 | xargs)"
matches "… from standard input" 'policy.minik8s.io/three created' "$(sed 's/name = "first"/name = "three"/' "$work/first.lua" | says_of apply -f -)"
matches "… not a manifest" 'a manifest: minikubectl apply -f' "$(says_of apply -f manifests/policies/restart-quick.yaml)"
matches "… a broken one among them: the others are taken" 'policy broken was refused.*' "$(echo 'return { api = 1, point = "rollout", name = "broken" }' >"$work/folder/broken.lua"; says_of apply -f "$work/folder")"
ok "… and it ends with 1" refuses k policy apply -f "$work/folder"
sed 's,return 100,return 99,' policies/scheduler/spread.lua >"$work/spread.lua"
matches "what a file would change of a shipped policy" '^--- spread \(shipped\)' "$(says_of diff -f "$work/spread.lua")"
ok "a pod in each" sh -c "'$kubectl' run here --image=localhost/m8-web:1 && '$kubectl' run there -n team --image=localhost/m8-web:1"
scheduled_by() { k get pod "$@" -o jsonpath='{.metadata.annotations.minik8s\.io/scheduled-by}' | grep -oE 'score [a-z]+'; }
ok "both run" sh -c "'$kubectl' wait pod/here --for=condition=Ready --timeout=90s && '$kubectl' wait -n team pod/there --for=condition=Ready --timeout=90s"
is "each was placed by its namespace's policies" "score spread, score binpack" "$(scheduled_by here), $(scheduled_by there -n team)"

# Swapped again and again while pods are placed: each decision is one version's, and can be taken again by it.
ok "policy use, a policy of this cluster" k policy use scheduler.score first
k create deployment many --image=localhost/m8-web:1 --replicas=12 >/dev/null
for i in $(seq 1 40); do
    k patch policy first --type=merge -p "{\"spec\":{\"source\":$(sed "s/100 or 0/$i or 0/; s/expect = 100/expect = $i/" "$work/first.lua" | jq -Rs .)}}" >/dev/null
done
ok "forty swaps while a Deployment comes up" k rollout status deployment many --timeout=90s
ok "every decision is the same when it is taken again" k policy test --replay=10m
k policy use scheduler.score spread preferred least-requested >/dev/null
k delete deployment many --wait=false >/dev/null

# The agents ask a policy of this cluster: restarts a second apart, where the default would double the wait each time.
ok "a policy as an object" k apply -f manifests/policies/restart-quick.yaml
ok "policy use restart.backoff" k policy use restart.backoff quick
ok "a node has it on its disk" until_true 5 grep -q quick "$MINIK8S_DIR/nodes/node-3/agent/policies.json"
since=$(now)
ok "a pod that crashes" k run crash --image=localhost/m8-busybox:1 --restart=Always -- false
told() { k policy log --object=default/crash --kind=Pod --point=restart.backoff; }
restarts() { [ "$(k get pod crash -o jsonpath='{.status.containerStatuses[0].restartCount}')" -ge 5 ]; }
within 25000 "has been started five times again (doubling: 31 s)" 25 restarts
node=$(k get pod crash -o jsonpath='{.spec.nodeName}')
matches "each wait is in the record: who, where, why" "restart.backoff +Pod +default/crash/crash .*quick@[0-9a-f]+ on $node +always the same" "$(told)"
matches "and k.why tells it" 'decision +restart.backoff → .*always the same' "$(k repl -e 'k.why("pod/crash")')"
matches "whose turn it was, too" "scheduler.first +Pod +default/crash +0 .*priority@" "$(k policy log --object=default/crash)"
ok "the node's decisions are the same when they are taken again" k policy test --replay=10m
steady=$(k policy test policies/restart/steady.lua --replay=10m)
matches "another policy would have decided otherwise" 'restart.backoff: [0-9]+ the same, [1-9][0-9]* would differ' "$steady"
ok "and waited five times as long in all" awk '$1 == "wait" {found = $3 == 5 * $2} END {exit !found}' <<<"$steady"
ok "policy list: it decides on all three nodes" until_true 5 listed '^restart.backoff +quick .* Active +3/3$'
# The same from the cluster's folder: no object of that name is known to anybody.
mkdir -p "$MINIK8S_DIR/policies/restart"
sed 's/name = "steady"/name = "dropped"/' policies/restart/steady.lua >"$MINIK8S_DIR/policies/restart/dropped.lua"
ok "a file in the folder of policies is known" until_true 5 listed '^restart.backoff +dropped .* file '
ok "policy use restart.backoff, the file" k policy use restart.backoff dropped
ok "it decides on all nodes" until_true 5 listed '^restart.backoff +dropped .* file +Active +3/3$'
ok "a node has it on its disk" grep -q dropped "$MINIK8S_DIR/nodes/node-2/agent/policies.json"
matches "and says so" 'Policies: +restart.backoff=dropped@[0-9a-f]{8}' "$(k describe node node-2)"
rm "$MINIK8S_DIR/policies/restart/dropped.lua"
ok "without the file the shipped default decides there" until_true 5 says node-2 'Policies: +restart.backoff=doubling@'

# A rollout in steps; a bad one is taken back.
ok "rollouts in steps" k apply -f manifests/policies/canary.yaml
k set image deployment/web '*=localhost/m8-web:2' >/dev/null && k rollout status deployment web --timeout=90s >/dev/null
news() { log --point=rollout --object=default/web --tail=1000 | jq -c '[.decisions[] | select(.by | startswith("canary")) | .result.new] | unique'; }
is "two of three first (34 %), then all" "[2,3]" "$(news)"
k set image deployment/web '*=localhost/nowhere:1' >/dev/null
ok "a version that does not start is taken back, and an Event says why" until_true 20 sh -c "'$kubectl' get events | grep -q 'to 0 from 2: aborted: 0 of 2 new pods are available'"
ok "all in the same manager process" same_manager

# The record outlives the manager, however it ends.
decided() { log --tail=10000 --since=30m --point="$1" | jq '[.decisions[] | {object, result, time}]'; }
before=$(decided rollout | jq -c '.[0:5]')
ok "the manager is killed" "$minik8s" cluster restart manager --kill
ok "a new one knows what was decided" until_true 20 sh -c "'$kubectl' policy log --object=default/crash | grep 'quick@' >/dev/null"
is "exactly" "$before" "$(decided rollout | jq -c '.[0:5]')"
matches "it says so" 'at most 36000 decisions and 64 MiB, on disk as well' "$(k policy log --tail=1)"
replay=$(k policy test --replay=1h)
is "what can be taken again is the same" 0 $?
ok "placements of before, too" refuses grep 'cannot be taken again' <<<"$replay"
pid=$(cut -d' ' -f1 "$MINIK8S_DIR/server/manager.pid")
kill -STOP "$pid"
sed 's/quick/unseen/' manifests/policies/restart-quick.yaml | k apply -f - >/dev/null
matches "no manager has seen a policy: it cannot be used, and that is told" 'policy "unseen" cannot decide: it is stored, but no manager has looked at it' "$(says_of use restart.backoff unseen)"
kill -CONT "$pid"
ok "when one has, it can" until_true 10 k policy use restart.backoff unseen
matches "and a candidate is tried on them" "default/web-[^ ]+ +node-[13] +node-2" "$(k policy test "$work/first.lua" --replay=1h)"

# Two clusters on this machine, each with its own strategy at the same time.
other=/var/lib/minik8s/test-$story-other
clusters+=("$other")
"$minik8s" cluster up --dir "$other" --nodes 2 --host-names no >"$work/other.log" 2>&1
"$minik8s" cluster load --dir "$other" "$BUILD"/images/m8-web-1.tar
o() { "$kubectl" --kubeconfig "$other/kubeconfig" "$@"; }
ok "a second cluster fills its nodes" o policy use scheduler.score binpack
cat >"$work/three.json" <<'END'
{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"three"},"spec":{"replicas":3,"selector":{"matchLabels":{"app":"three"}},
 "template":{"metadata":{"labels":{"app":"three"}},"spec":{"terminationGracePeriodSeconds":1,
  "containers":[{"name":"web","image":"localhost/m8-web:1","resources":{"requests":{"cpu":"20m","memory":"8Mi"}}}]}}}}
END
nodes_of_three() { "$@" get pods -l app=three -o jsonpath='{range .items[*]}{.spec.nodeName}{"\n"}{end}' | sort -u | grep -c node; }
ok "the same Deployment in both" sh -c "'$kubectl' apply -f '$work/three.json' && '$kubectl' --kubeconfig '$other/kubeconfig' apply -f '$work/three.json'"
ok "it runs in both" sh -c "'$kubectl' rollout status deployment three --timeout=90s && '$kubectl' --kubeconfig '$other/kubeconfig' rollout status deployment three --timeout=90s"
is "spread over three nodes here, on one there" "3 1" "$(nodes_of_three k) $(nodes_of_three o)"
