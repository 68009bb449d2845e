# Sourced by the stories: a cluster of its own for each, TAP, waiting on conditions. Needs a release build in build/ (or $BUILD).
#uses: curl jq nft ip awk
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
unset KUBECONFIG
BUILD=${BUILD:-build}
minik8s=$(realpath "$BUILD/minik8s") kubectl=$(realpath "$BUILD/minikubectl")
story=${story:-$(basename "$0" .sh)}
export MINIK8S_DIR=/var/lib/minik8s/test-$story
work=$(mktemp -d "/tmp/minik8s-$story-XXXXXX")
tests=0 planned=0 failures=0 clusters=("$MINIK8S_DIR")

plan() { planned=$1 && echo "1..$1"; }
note() { sed 's/^/# /' <<<"$*"; }

# ok NAME COMMAND…: passes if the command succeeds; its output is shown if not.
ok() {
    local name=$1 output
    shift
    tests=$((tests + 1))
    if output=$("$@" 2>&1); then echo "ok $tests - $name"; else
        failures=$((failures + 1))
        echo "not ok $tests - $name"
        note "$* → $output" | head -n 30
        return 1
    fi
}
is() { # NAME EXPECTED ACTUAL
    tests=$((tests + 1))
    if [ "$2" = "$3" ]; then echo "ok $tests - $1"; else
        failures=$((failures + 1))
        echo "not ok $tests - $1"
        note "expected: $2"
        note "found:    $3"
        return 1
    fi
}
matches() { # NAME PATTERN TEXT
    ok "$1" grep -qE -- "$2" <<<"$3" || note "does not match $2: $3"
}
refuses() { ! "$@"; }

# until_true SECONDS COMMAND…: asks every 50 ms; what it waits for has no event that a shell could sleep on. The seconds are what
# it may take on a common machine; a busy one with a slow disk gets four times as long. What is promised in a time says within.
until_true() {
    local end=$(($(now) + $1 * 4000))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(now)" -lt $end ] || { echo "not within the time: $*"; return 1; }
        sleep 0.05
    done
}
# Whether the manager is the process that it was at note_manager: pid and start time.
note_manager() { manager=$(cut -d' ' -f1,2 "$MINIK8S_DIR/server/manager.pid"); }
same_manager() { [ "$(awk '{print $1, $22}' "/proc/${manager% *}/stat" 2>/dev/null)" = "$manager" ]; }
now() { echo $((${EPOCHREALTIME/./} / 1000)); } # ms
# within MS NAME SECONDS COMMAND…: waits up to SECONDS and prints how long it took since $since. It passes if that was at most MS,
# and STALL more for a disk or a processor that others keep busy meanwhile.
STALL=3000
within() {
    local limit=$1 name=$2 took
    shift 2
    until_true "$@"
    took=$(($(now) - since))
    ok "$name (${took} ms; promised: $limit)" test $took -le $((limit + STALL))
}

k() { "$kubectl" "$@"; }
podman_of() { "$minik8s" cluster podman "$@"; }
on() { local node=$1; shift; "$minik8s" cluster exec "$node" -- "$@"; }
field() { k get "$1" "$2" -o "jsonpath=$3"; }
running_is() { [ "$(k get pods -l "$1" --no-headers 2>/dev/null | grep -c ' Running ')" = "$2" ]; }
ready_is() { [ "$(field deployment "$1" '{.status.readyReplicas}')" = "$2" ]; }
containers() { # what podman runs on all nodes: "id started" a line
    local node
    for node in node-1 node-2 node-3; do podman_of "$node" ps --no-trunc --format '{{.ID}} {{.StartedAt}}'; done | sort
}

start_cluster() { # [NODES]
    "$minik8s" cluster up --nodes "${1:-3}" --host-names no >"$work/up.log" 2>&1 || { sed 's/^/# /' "$work/up.log"; echo "Bail out! no cluster"; exit 1; }
    manifests/images/build "$BUILD/images" >"$work/images.log" 2>&1 || { cat "$work/images.log"; echo "Bail out! no images"; exit 1; }
    "$minik8s" cluster load "$BUILD"/images/m8-web-*.tar "$BUILD"/images/m8-busybox-1.tar || { echo "Bail out! load"; exit 1; }
}
start_demo() { # the application of ci/demo, all answering
    k apply -f manifests/demo/ >"$work/apply.log" 2>&1 || note "$(cat "$work/apply.log")"
    k rollout status deployment web --timeout=60s >/dev/null && k wait --for=condition=Ready pod -l app=toolbox --timeout=60s >/dev/null
}

finish() {
    local folder status=$?
    trap - EXIT
    for folder in "${clusters[@]}"; do
        [ ! -e "$folder" ] || { [ "$failures" = 0 ] && [ "$tests" = "$planned" ]; } || keep_logs "$folder"
        [ ! -e "$folder" ] || "$minik8s" cluster down --dir "$folder" >&2 || status=1
    done
    rm -rf "$work"
    [ "$failures" = 0 ] && [ "$tests" = "$planned" ] && exit "$status"
    exit 1
}
keep_logs() { # of a story that failed
    local to="$BUILD/test-logs/$story-cluster"
    rm -rf "$to" && mkdir -p "$to"
    (cd "$1" && find . -name '*.log' -size -4M | tar -cf - -T -) | tar -C "$to" -xf -
    note "logs of the cluster: $to"
}
trap finish EXIT
trap 'exit 1' INT TERM
