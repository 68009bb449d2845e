#!/usr/bin/env bash
# 71_gpujob_faults: GPUJobs while something between them and Slurm goes wrong: lost and late requests, a network that is away, tokens that
# end; limits; and no secret is told anywhere. That a submitter
# may be killed at every single step is unit_slurm_restart's.
#uses: sed grep sort head tail date find wc jq python3 truncate sha256sum cut readlink pgrep
. "$(dirname "$0")/lib.sh"
. test/e2e/slurm.sh
plan 29
"$minik8s" cluster up --nodes 1 --host-names no >"$work/up.log" 2>&1 || { cat "$work/up.log"; echo "Bail out! no cluster"; exit 1; }
start_slurm
port=$((${SLURM_REST##*:} + 5))
python3 test/e2e/70_gpujobs/between.py "$api.254" "$port" "$api.254" "${SLURM_REST##*:}" "$work/away" >"$work/between.log" 2>&1 &
between=$!
trap 'kill $between; leave' EXIT
cluster() { # NAME URL SECRET [VERSION]
    k get slurmcluster default -o json | jq --arg n "$1" --arg u "$2" --arg s "$3" --arg v "${4:-v0.0.38}" \
        '.metadata = {name: $n} | .spec.rest.url = $u | .spec.secretName = $s | .spec.rest.version = $v' |
        k apply -f - >/dev/null
}
token() { # SECONDS from now until it ends
    python3 - "$SLURM_JWT_KEY" "$1" <<'PY'
import base64, hashlib, hmac, sys, time
b64 = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
end = int(time.time()) + int(sys.argv[2])
text = b64(b'{"alg":"HS256","typ":"JWT"}') + b"." + b64(b'{"exp":%d,"iat":%d,"sun":"root"}' % (end, end - 3600))
print((text + b"." + b64(hmac.new(open(sys.argv[1], "rb").read(), text, hashlib.sha256).digest())).decode())
PY
}
cluster between "http://$api.254:$port" slurm
token -60 >"$work/token"
k create secret generic ends --from-file=token="$work/token" >/dev/null
cluster ends "$SLURM_REST" ends
cluster older "$SLURM_REST" slurm v0.0.37
is_now() { [ "$(of "$1" state) $(of "$1" reason)" = "$2" ]; }
times() { grep -c " Name=$1 " "$SLURM/jobcomp.log"; } # how often Slurm had it
work_of() { cat "$SLURM/did.$1" 2>/dev/null | wc -l; } # how often it was worked on

# ---- requests and answers that are lost
job lost-answer "{cluster: between, run: \"echo x >>$SLURM/did.lost; exit 4\"}"
job late-request "{cluster: between, run: \"echo x >>$SLURM/did.late; sleep 2; exit 6\"}"

# ---- a token that has ended; another one is put into the Secret
job token '{cluster: ends, run: "echo at last"}'
ok "with a token that has ended a job waits and says why" until_true 20 is_now token "Pending SlurmUnavailable"

# ---- states, one after the other
job chain-a '{memory: 16Mi, build: "echo building; while [ ! -e go ]; do sleep 0.1; done", run: "echo a; sleep 1"}'
ok "Building is seen" until_true 20 is_now chain-a "Building "
job chain-b "{memory: 16Mi, dependency: \"afterok:$(of chain-a slurmId)\", run: \"echo b\"}"
job chain-c "{memory: 16Mi, dependency: \"afternotok:$(of chain-a slurmId)\", run: \"echo c\"}"
ok "a job that depends on another waits, with Slurm's word" until_true 20 is_now chain-b "Pending Dependency"
matches "elapsed is shown while it runs" '^chain-a +default +[0-9]+ +(Building|Running) .*gpu[01] +[0-9]+s ' "$(k get gpujobs --no-headers)"
touch "$(echo "$SLURM_JOBS/default.chain-a."*)/go"
job modules '{memory: 16Mi, modules: [cuda/12], run: "echo never"}'
job by-older '{cluster: older, memory: 16Mi, nodes: 2, tasks: 2, timeLimit: "9", run: "echo $SLURM_JOB_NUM_NODES nodes; exit 4"}'
job nowhere '{cluster: older, partition: absent, run: "true"}'
job swept '{memory: 16Mi, ttlSecondsAfterFinished: 3, run: "echo soon gone"}'
job huge '{memory: 16Mi, run: "truncate -s 140M a.bin b.bin; echo small", outputs: ["*.bin"], maxOutputSize: 200Mi}'

k create secret generic ends --from-literal=token="$(token 600)" --dry-run=client -o yaml | k apply -f - >/dev/null
ok "with a new token in the Secret it runs" until_true 60 ended token
is "to its end" "Succeeded at last" "$(of token state) $(of token stdout)"
for one in chain-b lost-answer late-request; do until_true 60 ended "$one"; done
is "the one that depends on it runs after it" "Succeeded Succeeded 1" "$(of chain-a state) $(of chain-b state) $(
    [ "$(date -d "$(of chain-b startTime)" +%s)" -ge "$(date -d "$(of chain-a completionTime)" +%s)" ] && echo 1)"
matches "one whose condition can never come waits with Slurm's word" '^Pending Dependency' "$(of chain-c state) $(of chain-c reason)"
k gpujob cancel chain-c >/dev/null
until_true 30 ended chain-c
is "and can be cancelled" Cancelled "$(of chain-c state)"
is "an answer that is lost: handed over once, worked on once" "Failed 4 1 1" "$(of lost-answer state) $(of lost-answer exitCode) $(times lost-answer) $(work_of lost)"
is "a request that arrives after all: worked on once, and that end counts" "Failed 6 1" "$(of late-request state) $(of late-request exitCode) $(work_of late)"
until_true 60 ended by-older
is "through the older REST API the same: nodes, limit, no second start by Slurm, exit code" "Failed 4 2 nodes 9 0" \
    "$(of by-older state) $(of by-older exitCode) $(of by-older stdout) $(slurm run squeue -h -t all -j "$(of by-older slurmId)" -O TimeLimit | cut -d: -f1) $(
        slurm run scontrol -o show job "$(of by-older slurmId)" | grep -o ' Requeue=[^ ]*' | cut -d= -f2)"
matches "and a refusal" "^Failed Refused .*partition" "$(of nowhere state) $(of nowhere reason) $(of nowhere message)"
until_true 60 ended modules
matches "a module that cannot be loaded" "^Failed 127 .*module" "$(of modules state) $(of modules exitCode) $(of modules message)"
gone() { [ -z "$(k get gpujob "$1" -o name 2>/dev/null)" ]; }
ok "a job goes by itself after its ttlSecondsAfterFinished" until_true 60 gone swept

# ---- limits
until_true 90 ended huge
matches "outputs above what a job may keep are left out, with the limit and where they stay" "not kept: .*268435456.*$SLURM_JOBS/default.huge" "$(of huge results.message)"
is "stdout is kept all the same" small "$(k gpujob results huge -o "$work/huge" >/dev/null 2>&1; cat "$work/huge/stdout")"
mkdir "$work/up" && head -c 5000000 /dev/urandom >"$work/up/data.bin" && printf 'sha256sum <data.bin\n' >"$work/up/run.sh"
k gpujob submit "$work/up" --name sent -- sh run.sh >/dev/null
ok "a folder of 5 MB is sent" until_true 60 ended sent
is "as it is" "$(sha256sum <"$work/up/data.bin")" "$(k logs gpujob/sent)"
truncate -s 300M "$work/up/data.bin"
matches "one above the limit is refused before anything is made" "268435456|256" "$(k gpujob submit "$work/up" --name too-large -- true 2>&1; k get gpujob too-large -o name 2>/dev/null)"

# ---- the network is away while a job ends
job away "{cluster: between, memory: 16Mi, run: \"echo begun; while [ ! -e go ]; do sleep 0.1; done; echo ended; exit 2\"}"
job ssh-away "{cluster: login, memory: 16Mi, run: \"echo begun; while [ ! -e go ]; do sleep 0.1; done; echo ended; exit 3\"}"
until_true 20 running away && until_true 20 running ssh-away
touch "$work/away"
sshd=$(cat "$SLURM/run/sshd.pid") && mapfile -t sessions < <(pgrep -P "$sshd")
slurm kill sshd
kill -9 "${sessions[@]}" 2>/dev/null
ok "a Slurm that cannot be reached is the reason meanwhile" until_true 20 is_now away "Running SlurmUnavailable"
ok "so is a login node" until_true 60 is_now ssh-away "Running SlurmUnavailable"
touch "$(echo "$SLURM_JOBS/default.ssh-away."*)/go"
folder=$(echo "$SLURM_JOBS/default.away."*)
touch "$folder/go"
until_true 20 test -s "$folder/.minik8s/rc"
rm "$work/away"
slurm start sshd
until_true 30 ended away && until_true 30 ended ssh-away
is "its end is seen afterwards" "Failed 2 ended" "$(of away state) $(of away exitCode) $(of away stdout | tail -n1)"
is "over SSH too, once" "Failed 3 begun ended 1" "$(of ssh-away state) $(of ssh-away exitCode) $(of ssh-away stdout | tr '\n' ' ')$(times ssh-away)"

# ---- a node fails; everything of Slurm is killed before it has noted that the job began
job fails '{memory: 16Mi, run: "echo begun; sleep 300"}'
until_true 20 running fails
node=$(of fails nodes)
slurm run scontrol update nodename="$node" state=down reason=test
until_true 30 ended fails
is "the job of a node that fails has failed for that reason, without an exit code" \
    "Failed NodeFail  Slurm says NODE_FAIL: NodeDown, and it left no exit code of its own" "$(of fails state) $(of fails reason) $(of fails exitCode) $(of fails message)"
slurm run scontrol update nodename="$node" state=resume 2>/dev/null
job lost '{memory: 16Mi, run: "echo begun; sleep 300"}'
shell_of() { readlink "$SLURM_JOBS/default.$1."*/.minik8s/started; }
until_true 20 shell_of lost
shell=$(shell_of lost) && shell=${shell#*:}
for daemon in slurmctld gpu0 gpu1; do slurm kill $daemon; done
kill -9 "$(cut -d' ' -f4 "/proc/$shell/stat")" && kill -9 -- "-$shell"
for daemon in slurmctld gpu0 gpu1; do slurm start $daemon; done
until_true 20 slurm run scontrol update nodename=gpu0,gpu1 state=down reason=test # if it was noted after all, it is told now
slurm run scontrol update nodename=gpu0,gpu1 state=resume 2>/dev/null
ok "a job that Slurm has lost and that left nothing ends" until_true 60 ended lost
matches "as one of which nobody knows how it ended" "^Failed (Unknown|NodeFail)  Slurm (lost track|says NODE_FAIL).* left no exit code( of its own)?$" \
    "$(of lost state) $(of lost reason) $(of lost exitCode) $(of lost message)"

# ---- no secret is told
secrets() { { cat "$work/token"; sed -n 2p "$SLURM_SSH_KEY"; token 0 | cut -d. -f1; } | grep . >"$work/secrets" && grep -rlF -f "$work/secrets" "$@"; }
k get gpujobs,pods,events,slurmclusters -o json >"$work/all.json"
for pod in $(k get pods -o name); do k logs "$pod"; done >"$work/pods.log" 2>&1
mapfile -t logs < <(find "$MINIK8S_DIR" -name '*.log' -size -16M)
is "no token and no key in objects, Events and logs" "" "$(secrets "$work/all.json" "$work/pods.log" "${logs[@]}")"
ok "and there are logs to look at" test "${#logs[@]}" -ge 3
