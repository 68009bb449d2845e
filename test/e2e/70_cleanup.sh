#!/usr/bin/env bash
# `cluster down` leaves the machine as `cluster up` found it: after a clean run, after everything was killed, after an `up` that
# was killed half-way; and it leaves a second cluster alone.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/inspect.sh"
plan 20
other=/var/lib/minik8s/test-$story-other
clusters+=("$other")
touch "$work/own"

# What a cluster could leave behind, a line each. Other clusters may run on this machine; what names one of them is left out:
# $work/own holds the names that our own ones have used (network, cgroup, containers).
snapshot() {
    {
        ip -o link | awk -F': ' '{print "link", $2}'
        ip route show table all | sed 's/^/route /'
        ip rule | sed 's/^/rule /'
        nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//; s/^/nft /'
        awk '{print "mount", $5}' /proc/self/mountinfo
        find /run /var/lib /dev/shm -xdev \( -path /var/lib/minik8s -o -path '/dev/shm/m8-sim-*' \) -prune -o -printf 'file %p\n'
        find "$MINIK8S_DIR" "$other" -printf 'file %p\n' 2>/dev/null
        find /sys/fs/cgroup -type d -printf 'cgroup %p\n' 2>/dev/null
        processes
    } | grep -vE '/var/lib/minik8s/test-[0-9]|/var/lib/minik8s/[a-su-z]|/var/lib/minik8s/t-' >"$work/lines"
    # Of what only clusters have, our own: lines with such a name that is not ours are another's.
    grep -vE 'm8c[0-9a-f]{6}|minik8s/[a-z0-9]+(/|$)|[0-9a-f]{64}|/dev/shm/(m8|minik8s-)|^mount .*/storage' "$work/lines"
    grep -F -f "$work/own" "$work/lines"
    grep -F -e "$MINIK8S_DIR" -e "$other" "$work/lines"
}
processes() { # zombies count as gone
    pgrep -af -- "$MINIK8S_DIR" | sed 's/^/process /'
    while read -r pid start; do
        [ "$(awk '$3 != "Z" {print $22}' "/proc/$pid/stat" 2>/dev/null)" != "$start" ] || echo "process of a container: $pid"
    done <"$work/pids"
}
remember() { # FOLDER: the names and processes of a running cluster
    local pid
    jq -r .id "$1/cluster.json" >>"$work/own"
    ip -o route get "$(awk -F'[/:]+' '/server:/ {print $3}' "$1/kubeconfig")" | grep -o 'm8c[0-9a-f]*' | cut -c1-9 >>"$work/own"
    find "$1"/nodes/*/storage -path '*-containers/*' -maxdepth 4 -type d -printf '%f\n' | grep -xE '[0-9a-f]{64}' >>"$work/own"
    for pid in $(cat /sys/fs/cgroup/{,*/}minik8s/"$(jq -r .id "$1/cluster.json")"/*/*/*/cgroup.procs 2>/dev/null | sort -u); do
        awk '{print $1, $22}' "/proc/$pid/stat" >>"$work/pids"
    done
}
touch "$work/pids"
snapshot | sort -u >"$work/before"
as_before() {
    snapshot | sort -u >"$work/after"
    diff "$work/before" "$work/after"
}
pids_of() { # FOLDER: of every process that serves it
    find "$1" -name '*.pid' -exec cat {} + | cut -d' ' -f1
}
down() { "$minik8s" cluster down --dir "$1"; }

start_cluster
ok "a cluster serves the demo" start_demo
remember "$MINIK8S_DIR"
ok "it is seen: links, mounts, cgroups, processes" test "$(snapshot | sort -u | diff "$work/before" - | grep -cE '^> (link|mount|cgroup|process) ')" -gt 30
ok "down" down "$MINIK8S_DIR"
ok "nothing is left after a clean run" as_before
ok "down again, of nothing" down "$MINIK8S_DIR"

start_cluster
ok "a second one" start_demo
remember "$MINIK8S_DIR"
ok "node-3 loses its power" "$minik8s" cluster stop-node node-3
for pid in $(pids_of "$MINIK8S_DIR"); do kill -KILL "$pid" 2>/dev/null; done
ok "server, manager, agents, podman's services and resolvers are killed: down" down "$MINIK8S_DIR"
ok "nothing is left after everything was killed" as_before

start_cluster
k apply -f manifests/demo/ >/dev/null
running_is app=web 2
remember "$MINIK8S_DIR"
for pid in $(pids_of "$MINIK8S_DIR"); do kill -KILL "$pid" 2>/dev/null; done
ok "killed while pods start: down" down "$MINIK8S_DIR"
ok "nothing is left after a start that was interrupted" as_before

for after in 0.05 0.2 0.5; do
    timeout -s KILL $after "$minik8s" cluster up >/dev/null 2>&1
    [ ! -e "$MINIK8S_DIR/kubeconfig" ] || remember "$MINIK8S_DIR"
    down "$MINIK8S_DIR" || note "down after $after s failed"
    ok "nothing is left of an up that was killed after $after s" as_before
done

# Side by side: the first is taken down while the second serves.
serve() { start_cluster 2 && k apply -f manifests/demo/web.yaml >/dev/null && k rollout status deployment web --timeout=60s >/dev/null; }
serve
MINIK8S_DIR=$other serve
ok "two clusters have networks of their own" test "$(awk '/server:/' "$other/kubeconfig")" != "$(awk '/server:/' "$MINIK8S_DIR/kubeconfig")"
remember "$MINIK8S_DIR"
remember "$other"
started() { for node in node-1 node-2; do podman_of $node --dir "$other" ps --no-trunc --format '{{.ID}} {{.StartedAt}}'; done | sort; }
before=$(started)
MINIK8S_DIR=$other start_load "load on the second" 100 "$minik8s" cluster exec --dir "$other" node-2 --
ok "the first is taken down" down "$MINIK8S_DIR"
end_load "load on the second"
is "its containers run on" "$before" "$(started)"
ok "the second is taken down" down "$other"
ok "nothing is left of both" as_before
