# Sourced by the stories after lib.sh: what podman, /proc and cgroups say of a pod's containers; the load of the zero-error tests.
#uses: nsenter

node_of() { field pod "$1" '{.spec.nodeName}'; }
container() { # POD CONTAINER (POD: its sandbox): the newest container of that name that podman has
    podman_of "$(node_of "$1")" ps -a --filter "name=^m8_$2_$1_" --format '{{.Names}} {{.ID}}' | sort -V | awk 'END {print $2}'
}
inspect() { podman_of "$(node_of "$1")" inspect "$(container "$1" "$2")" --format "$3"; } # POD CONTAINER FORMAT
pid_of() { inspect "$1" "$2" '{{.State.Pid}}'; }
identity() { inspect "$1" "$2" '{{.Id}} {{.State.StartedAt}}'; }
cgroup_file() { # POD CONTAINER CONTROLLER FILE-OF-V1 FILE-OF-V2: the content
    local line path root=/sys/fs/cgroup
    line=$(grep -E "^[0-9]+:([a-z,]+,)?$3(,[a-z,]+)?:" "/proc/$(pid_of "$1" "$2")/cgroup")
    if [ -n "$line" ]; then cat "$root/$3${line#*:*:}/$4"; else
        path=$(grep '^0::' "/proc/$(pid_of "$1" "$2")/cgroup")
        cat "$root${path#0::}/$5"
    fi
}
events_of() { k get events --field-selector "involvedObject.name=$1" -o jsonpath='{range .items[*]}{.reason}: {.message}{"\n"}{end}'; }
waiting_reason() { field pod "$1" '{.status.containerStatuses[0].state.waiting.reason}'; }
shows() { grep -qE -- "$1" <<<"$("${@:2}")"; } # PATTERN COMMAND…

# start_load NAME RATE COMMAND…: COMMAND enters the network from which the Service "web" (or $load_service) is
# asked, and becomes the load.
declare -A loads
start_load() {
    local name=$1 rate=$2 address
    shift 2
    address=$(field service "${load_service:-web}" '{.spec.clusterIP}') # not in the background: what follows may kill the server
    "$@" "$(realpath "$BUILD/test/load")" "$address" 80 "$rate" 300 --log "$work/$name.log" >"$work/$name.json" &
    loads[$name]=$!
}
end_load() { # NAME: not one request may have failed
    kill -TERM "${loads[$1]}"
    wait "${loads[$1]}"
    note "$1: $(cat "$work/$1.json")"
    is "$1: no request failed" 0 "$(jq -r .failed "$work/$1.json")" || note "$(head -n 20 "$work/$1.log")"
}
