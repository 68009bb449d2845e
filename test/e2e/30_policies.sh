#!/usr/bin/env bash
# Policies are changed while the manager runs: the choice takes effect at once in the same process, broken ones are refused, a
# hostile one never stops scheduling.
. "$(dirname "$0")/lib.sh"
plan 26
start_cluster

note_manager
deploy() { # NAME REPLICAS: waits until all run
    k create deployment "$1" --image=localhost/m8-web:1 --replicas="$2" >/dev/null && k rollout status deployment "$1" --timeout=90s
}
spread_of() { # NAME: containers of the Deployment per node, sorted, as podman sees them
    for n in 1 2 3; do podman_of node-$n ps --format '{{.Image}} {{.Names}}' | grep -c "m8-web:1 .*_$1-"; done | sort -n | xargs
}
state_of() { k policy list | awk -v point="$1" -v name="$2" '$1 == point && $2 == name {print $5}'; }
has_event() { grep -qE "$2" <<<"$(k get events -A | grep -E "$1")"; }

is "spread is in force" Active "$(state_of scheduler.score spread)"
is "binpack is known, not in force" Inactive "$(state_of scheduler.score binpack)"
ok "three pods run" deploy apart 3
is "spread: one container on each node" "1 1 1" "$(spread_of apart)"

# Binpack looks at requests: the first pod decides, the others join it.
cat >"$work/packed.json" <<'END'
{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"packed"},"spec":{"replicas":3,"selector":{"matchLabels":{"app":"packed"}},
 "template":{"metadata":{"labels":{"app":"packed"}},"spec":{"terminationGracePeriodSeconds":1,
  "containers":[{"name":"web","image":"localhost/m8-web:1","resources":{"requests":{"cpu":"50m","memory":"16Mi"}}}]}}}}
END
ok "policy use scheduler.score binpack" k policy use scheduler.score binpack
ok "three more are applied" k apply -f "$work/packed.json"
ok "they run" k rollout status deployment packed --timeout=90s
is "binpack: all on one node" "0 0 3" "$(spread_of packed)"
ok "policy rollback takes the choice back" k policy rollback scheduler.score
is "spread is in force again" Active "$(state_of scheduler.score spread)"
ok "three more pods run" deploy again 3
is "they are spread over all nodes" "1 1 1" "$(spread_of again)"

printf 'return {\n    api = 1,\n    point = "scheduler.score",\n    name = "broken",\n    run = function() return 1 + end,\n}\n' >"$work/broken.lua"
broken=$(k policy apply -f "$work/broken.lua" 2>&1)
is "a broken file is refused" 1 $?
matches "with line and reason" 'broken:5: unexpected symbol' "$broken"

cat >"$work/hostile.lua" <<'END'
return {
    api = 1,
    point = "scheduler.score",
    name = "hostile",
    run = function(ctx, node)
        while node.labels["kubernetes.io/hostname"] do end
        return 50
    end,
    examples = { { name = "harmless here", candidate = { labels = {} }, expect = 50 } },
}
END
ok "one that loops only on real nodes passes its examples" k policy apply -f "$work/hostile.lua"
ok "it is put in force" k policy use scheduler.score hostile
since=$(now)
ok "pods are placed and run all the same" deploy despite 6
ok "within 10 s" test $(($(now) - since)) -lt 10000
ok "an Event tells" until_true 10 has_event hostile 'deadline|budget|CPU|time'
ok "after repeated failures it is no longer in force" until_true 10 sh -c "[ \"\$('$kubectl' policy list | awk '\$2 == \"hostile\" {print \$5}')\" != Active ]"
matches "it cannot be put in force again as it is: that and why is told" 'policy "hostile" cannot decide: RolledBack: .*(deadline|budget|CPU|time|cut off)' "$(k policy use scheduler.score hostile 2>&1)"
matches "nor one that was refused" 'policy "broken" cannot decide: Rejected: .*unexpected symbol' "$(k policy use scheduler.score broken 2>&1)"
ok "policy use spread" k policy use scheduler.score spread preferred least-requested
ok "three more pods run" deploy after 3
is "and are spread" "1 1 1" "$(spread_of after)"
ok "all in the same manager process" same_manager
