#!/usr/bin/env bash
# 70_gpujobs: GPUJobs on a real Slurm (munge, slurmctld, two slurmd, slurmrestd), compared with Slurm's own records; everything that takes
# part is killed in the middle and comes back.
#uses: sed grep sort uniq curl base64 mknod mkfifo cc date tail find wc sha256sum head seq jq cut
. "$(dirname "$0")/lib.sh"
. test/e2e/slurm.sh
plan 72

# A pretended driver with two GPUs: its library, device nodes with the numbers of /dev/null, a pipe that tells its errors.
export MINIK8S_GPU_ROOT=$work/gpu
mkdir -p "$work/gpu/dev" "$work/gpu/usr/lib64"
cc -shared -fPIC -o "$work/gpu/usr/lib64/libnvidia-ml.so.1" test/e2e/70_gpujobs/nvml.c
mkfifo "$work/gpu/errors"
for device in nvidia0 nvidia1 nvidiactl; do mknod "$work/gpu/dev/$device" c 1 3; done
"$minik8s" cluster up --nodes 1 --host-names no >"$work/up.log" 2>&1 || { cat "$work/up.log"; echo "Bail out! no cluster"; exit 1; }
start_slurm

server=https://$(sed -n 's|^ *server: https://||p' "$MINIK8S_DIR/kubeconfig")
sed -n 's/^ *certificate-authority-data: //p' "$MINIK8S_DIR/kubeconfig" | base64 -d >"$work/ca.pem"

refused() { # NAME PATH SPEC
    local out
    out=$(printf 'apiVersion: minik8s.io/v1\nkind: GPUJob\nmetadata: {name: bad}\nspec: %s\n' "$3" | k apply -f - 2>&1)
    ok "$1" grep -qF -- "$2" <<<"$out" || note "$out"
}

# ---- GPUs of the node itself
for name in gpu gpu-b gpu-c; do sed "s/name: gpu,/name: $name,/" manifests/gpu/pod.yaml | k apply -f - >/dev/null; done
devices() { timeout 10 "$kubectl" exec "$1" -- sh -c 'cd /dev; echo nvidia[0-9]*' </dev/null 2>&1; }
is "the node advertises what NVML finds" "2 2 NVIDIA-H100-PCIe" \
    "$(field node node-1 '{.status.capacity.nvidia\.com/gpu} {.status.allocatable.nvidia\.com/gpu} {.metadata.labels.nvidia\.com/gpu\.product}')"
placed() { [ "$(k get pods -l example=gpu --no-headers | grep -c ' Running ')" = 2 ]; }
ok "two of three pods with a GPU find a place" until_true 20 placed
waits=$(k get pods -l example=gpu --no-headers | grep Pending | cut -d' ' -f1)
mapfile -t runs < <(k get pods -l example=gpu --no-headers | grep ' Running ' | cut -d' ' -f1)
why() { grep -q 'Insufficient nvidia.com/gpu' <<<"$(k get events --field-selector "involvedObject.name=$waits" -o 'jsonpath={.items[*].message}')"; }
ok "the third is told why it waits" until_true 5 why
is "each sees one device, not the other's" "nvidia0 nvidia1" "$(for pod in "${runs[@]}"; do devices "$pod"; done | sort | tr '\n' ' ' | sed 's/ $//')"
ok "and may use it" timeout 10 "$kubectl" exec "${runs[0]}" -- sh -c 'echo x >/dev/nvidia[0-9]'
matches "describe node shows how many are given" "nvidia.com/gpu: 2 of 2" "$(k describe node node-1)"
freed=$(devices "${runs[0]}")
"$minik8s" cluster restart agent node-1 --kill >/dev/null 2>&1
k delete pod "${runs[0]}" >/dev/null
ok "after a restart of the agent the third gets the device that is given back" k wait --for=condition=Ready "pod/$waits" --timeout=90s
is "that one" "$freed" "$(devices "$waits")"

# ---- GPUs come and go while the agent runs
has_gpus() { [ "$(field node node-1 '{.status.capacity.nvidia\.com/gpu} {.status.allocatable.nvidia\.com/gpu} {.metadata.labels.nvidia\.com/gpu\.count}')" = "$1" ]; }
told() { grep -qE "$1" <<<"$(k get events --field-selector involvedObject.kind=Node -o 'jsonpath={range .items[*]}{.reason} {.message}{"\n"}{end}')"; }
sed "s/name: gpu,/name: gpu-d,/" manifests/gpu/pod.yaml | k apply -f - >/dev/null
mknod "$work/gpu/dev/nvidia2" c 1 3
ok "a GPU that comes is seen" until_true 15 has_gpus "3 3 3"
ok "who waited for it runs with it" k wait --for=condition=Ready pod/gpu-d --timeout=60s
is "on that one" nvidia2 "$(devices gpu-d)"
echo "1 43" >"$work/gpu/errors"
echo "2 79" >"$work/gpu/errors"
ok "one that the driver gives up is not given away any more; a program's own error is none" until_true 15 has_gpus "3 2 3"
ok "which an Event tells" until_true 5 told '^GPUUnhealthy GPU 2 GPU-00000002 is taken out of use: .*79'
"$minik8s" cluster restart agent node-1 --kill >/dev/null 2>&1
keeps() { [ "$(devices gpu-d)" = nvidia2 ] && has_gpus "3 2 3"; }
ok "after a restart of the agent it is still so, and whoever has it keeps it" until_true 15 keeps
k delete pod gpu-d >/dev/null
rm "$work/gpu/dev/nvidia2"
ok "one that goes is taken away" until_true 15 has_gpus "2 2 2"
ok "and told" until_true 5 told '^GPURemoved GPU 2 '
# The driver's wait fails, and would again; opened once: then nobody may read any more, and the rest of the text may be refused.
(trap '' PIPE; printf 'nonsense\nnonsense\n' >"$work/gpu/errors") 2>/dev/null
ok "a driver that fails to tell errors is looked at once" until_true 5 told '^GPUHealthUnknown '
k delete pods -l example=gpu --wait=false >/dev/null

job limited '{timeLimit: "1", memory: 16Mi, run: "echo begun; sleep 600"}' # Slurm's shortest: looked at in the end

# ---- one job
k apply -f manifests/gpu/hello.yaml >/dev/null
ok "a job runs to its end" until_true 20 ended hello
is "it has succeeded, and Slurm says so" "Succeeded COMPLETED" "$(of hello state) $(record hello JobState)"
is "what it printed" "job $(of hello slurmId) on $(of hello nodes) has GPU 0 done" "$(k logs gpujob/hello | tr '\n' ' ' | sed 's/ $//')"
matches "get shows cluster, number, state, reason and node" "^hello +default +$(of hello slurmId) +Succeeded +Completed +gpu[01] " "$(k get gpujobs --no-headers)"
seen=$(field gpujob hello '{.status.conditions[?(@.type=="Complete")].lastTransitionTime}') end=$(of hello completionTime)
ok "its end is seen within 2 s" test $(($(date -d "$seen" +%s) - $(date -d "$end" +%s))) -le 2
is "describe shows its Events" "Completed Started Submitted" "$(k describe gpujob hello | grep -oE 'Normal +(Submitted|Started|Completed)' | grep -oE '[A-Z][a-z]+$' | sort | tr '\n' ' ' | sed 's/ $//')"

# ---- what is wrong is refused before anything happens, with its path
refused "a time limit that Slurm does not read" spec.timeLimit '{run: "true", timeLimit: "1:99"}'
refused "an output that leads out of the folder" 'spec.outputs[0]' '{run: "true", outputs: ["../x"]}'
refused "a job without a program" spec.run '{gpus: 1}'
script=$(k gpujob submit -f manifests/gpu/matmul.yaml --dry-run 2>&1)
matches "--dry-run shows the script for sbatch" "^#SBATCH --gres=gpu:h100:1" "$script"
is "and makes nothing" "" "$(k get gpujob matmul -o name 2>/dev/null)"

# ---- many ends at once
job code '{run: "echo to the log >&2; exit 7"}'
job nowhere '{partition: absent, run: "true"}'
job toomany '{gpus: 9, run: "true"}'
job memory '{memory: 32Mi, run: "head -c 300m /dev/zero | tail | sleep 20"}'
job broken '{build: "echo no compiler >&2; exit 3", run: "true"}'
job files '{run: "mkdir out; seq 9 >out/a.dat; head -c 3000000 /dev/urandom >big.bin; sha256sum <big.bin", outputs: ["out/*.dat", big.bin]}'
job large '{run: "head -c 3000000 /dev/zero >big.bin; echo small >small.bin", outputs: ["*.bin"], maxOutputSize: 1Mi}'
k apply -f manifests/gpu/sweep.yaml >/dev/null
job by-ssh '{cluster: login, gpus: 1, build: "echo built >b", run: "cat b; echo GPU $CUDA_VISIBLE_DEVICES; seq 99999 >long.txt; echo oops >&2; exit 5", outputs: [long.txt]}'
job by-claim '{cluster: claimed, run: "echo kept >kept.txt; echo seen", outputs: [kept.txt]}'
job ssh-nowhere '{cluster: login, partition: absent, run: "true"}'
job ssh-kept '{cluster: login, run: "echo begun; sleep 300"}'
job long '{run: "trap \"\" TERM; sleep 300"}'
job kept '{run: "echo begun; sleep 300"}'
k get slurmcluster default -o json | jq '.metadata = {name: "closed"} | .spec.secretName = "closed"' | k apply -f - >/dev/null
k create secret generic closed --from-literal=jwt_hs256.key=0123456789 >/dev/null
job closed '{cluster: closed, run: "true"}'
slurm run scontrol update nodename=gpu1 state=drain reason=test
job drained '{nodes: 2, tasks: 2, run: "true"}'
k gpujob submit manifests/gpu/cuda >"$work/submit.log" 2>&1 || note "$(cat "$work/submit.log")"
k create configmap cuda --from-file=manifests/gpu/cuda >/dev/null
k apply -f manifests/gpu/matmul.yaml >/dev/null
begun() { grep -q begun "$SLURM_JOBS/default.$1."*/.minik8s/stdout; }
until_true 20 running long && until_true 20 begun kept
long=$(of long slurmId)
ok "deleting a job waits until Slurm has ended it" k delete gpujob long --timeout=90s
is "which was cancelled" CANCELLED "$(slurm run squeue -h -t all -j "$long" -o %T)"
ok "nothing of it stays" refuses k get serviceaccount long-submitter
until_true 20 begun ssh-kept
k gpujob cancel kept ssh-kept >/dev/null
# ---- a submitter's account may do nothing else
account=$(curl -s --cacert "$work/ca.pem" -H "Authorization: Bearer $(sed -n 's/^ *token: //p' "$MINIK8S_DIR/kubeconfig")" \
    -H 'Content-Type: application/json' -d '{}' "$server/api/v1/namespaces/default/serviceaccounts/hello-submitter/token" | jq -r .status.token)
may() { curl -s -o /dev/null -w '%{http_code}' --cacert "$work/ca.pem" -H "Authorization: Bearer $account" "${@:2}" "$server/$1"; }
JOBS=apis/minik8s.io/v1/namespaces/default/gpujobs
digest=$(printf x | sha256sum | cut -d' ' -f1)
patch=(-X PATCH -H 'Content-Type: application/merge-patch+json' -d '{"status":{"message":"x"}}')
is "its account may read its job, and report" "200 200" "$(may $JOBS/hello) $(may $JOBS/hello/status "${patch[@]}")"
is "no Secret, no other job, no other status" "403 403 403 403" \
    "$(may api/v1/namespaces/default/secrets/slurm) $(may $JOBS) $(may $JOBS/code) $(may $JOBS/code/status "${patch[@]}")"
is "blobs of its own job only, under their digest only" "200 200 422 403" \
    "$(may $JOBS/hello/blobs/$digest -X PUT -d x) $(may $JOBS/hello/blobs/$digest) $(may $JOBS/hello/blobs/$digest -X PUT -d y) $(may $JOBS/code/blobs/$digest -X PUT -d x)"

# ---- Slurm cannot, or will not
is "a Slurm that refuses our token: pending, with the reason" "Pending SlurmUnavailable" "$(of closed state) $(of closed reason)"
ok "such a job can be deleted: Slurm never had it" k delete gpujob closed --timeout=90s
matches "nodes that are drained: pending, in Slurm's words" "Pending (Resources|ReqNodeNotAvail|PartitionConfig|NodeDown|ReqNode.*|PartitionNodeLimit)" "$(of drained state) $(of drained reason)"
slurm run scontrol update nodename=gpu1 state=resume
ok "the others end" until_true 30 all_ended
is "cancel keeps the job and what it had printed" "Cancelled begun" "$(of kept state) $(of kept stdout)"
is "the exit code and the last words are told" "Failed 7 exit code 7: to the log" "$(of code state) $(of code exitCode) $(of code message)"
matches "a partition that Slurm does not have, in Slurm's words" "Failed Refused .*partition" "$(of nowhere state) $(of nowhere reason) $(of nowhere message)"
matches "more GPUs than any node has" "Failed Refused .*configuration is not available" "$(of toomany state) $(of toomany reason) $(of toomany message)"
is "more memory than asked for" "Failed OutOfMemory" "$(of memory state) $(of memory reason)"
is "a build that fails" "Failed BuildFailed exit code 3: no compiler" "$(of broken state) $(of broken reason) $(of broken message)"
is "an array: its tasks, and what they printed" "Succeeded 4 [3] task 3 made 8192 bytes" "$(of sweep state) $(of sweep tasks.succeeded) $(k logs gpujob/sweep | sort | tail -n1)"

# ---- results
k gpujob results files -o "$work/files" >"$work/out" || note "$(cat "$work/out")"
is "output files come back as they were" "$(cut -d' ' -f1 "$work/files/stdout")" "$(sha256sum <"$work/files/files/big.bin" | cut -d' ' -f1)"
is "with folders, errors and accounting" "9 0 COMPLETED" \
    "$(tail -n1 "$work/files/files/out/a.dat") $(jq .exitCode "$work/files/accounting.json") $(record files JobState)"
k gpujob results sweep -o "$work/sweep" >/dev/null
is "those of an array, by task" "task 3 made 8192 bytes 4" "$(cat "$work/sweep/stdout.3") $(find "$work/sweep/files" -type f | wc -l)"
matches "a file above the limit is left out, and named" "above spec.maxOutputSize \(1Mi\), not kept: big.bin" "$(k gpujob results large -o "$work/large" 2>&1)"
is "the rest is kept" small "$(cat "$work/large/files/small.bin")"
is "a folder whose results are kept is removed" "" "$(find "$SLURM_JOBS" -maxdepth 1 -name 'default.files.*')"

k gpujob results by-claim -o "$work/claim" >/dev/null
is "through a claim of this cluster the same" "Succeeded seen kept Bound" \
    "$(of by-claim state) $(k logs gpujob/by-claim) $(cat "$work/claim/files/kept.txt") $(field pvc slurm-jobs '{.status.phase}')"

# ---- over SSH
is "over SSH a job runs, its exit code comes back" "Failed 5 exit code 5: oops FAILED" "$(of by-ssh state) $(of by-ssh exitCode) $(of by-ssh message) $(record by-ssh JobState)"
is "so does a refusal" "Failed Refused" "$(of ssh-nowhere state) $(of ssh-nowhere reason)"
is "and a cancellation" "Cancelled begun" "$(of ssh-kept state) $(of ssh-kept stdout)"
k gpujob results by-ssh -o "$work/ssh" >/dev/null
matches "and results" "^built GPU [01] 99999$" "$(tr '\n' ' ' <"$work/ssh/stdout")$(tail -n1 "$work/ssh/files/long.txt")"

# ---- CUDA: sent, built, run. Without a GPU the error has its name.
matches "the folder has been sent" "^sent [0-9]+ files" "$(cat "$work/submit.log")"
if [ -e /dev/nvidiactl ]; then
    is "the CUDA programs agree with the host" Succeeded "$(of cuda state)"
elif [ -x /usr/local/cuda/bin/nvcc ]; then
    matches "the CUDA programs are built; without a GPU the error is named" \
        "Failed NonZeroExitCode 2 exit code 2: .*cudaError(InsufficientDriver|NoDevice)" "$(of cuda state) $(of cuda reason) $(of cuda exitCode) $(of cuda message)"
else
    note "nvcc is not here (/usr/local/cuda): the programs are not compiled"
    matches "without nvcc the build says so" "Failed BuildFailed .*nvcc is not here" "$(of cuda state) $(of cuda reason) $(of cuda message)"
fi
is "the same from a ConfigMap, with an environment" "$(of cuda state) $(of cuda exitCode)" "$(of matmul state) $(of matmul exitCode)"

# ---- twenty jobs while everything is killed and comes back
for i in $(seq 20); do
    printf 'apiVersion: minik8s.io/v1\nkind: GPUJob\nmetadata: {name: n-%s}\nspec: {memory: 16Mi, run: "sleep %s; echo n-%s >>%s/ran; exit %s"}\n---\n' \
        "$i" "$((i % 4 + 1))" "$i" "$SLURM" "$((i % 3))"
done | k apply -f - >/dev/null
some_run() { [ "$(k get gpujobs --no-headers | grep -c '^n-.* Running ')" -ge 3 ]; }
until_true 20 some_run
slurm kill slurmrestd
slurm kill gpu1
pid=$(podman_of node-1 inspect --format '{{.State.Pid}}' "$(podman_of node-1 ps -q --filter label=io.minik8s.pod.name=n-7-submitter --filter label=io.minik8s.container=submitter)" 2>/dev/null)
[ -z "$pid" ] || kill -9 "$pid"
"$minik8s" cluster restart server --kill >/dev/null 2>&1
"$minik8s" cluster restart manager --kill >/dev/null 2>&1
slurm start slurmrestd
slurm start gpu1
slurm stop slurmctld
slurm start slurmctld
ok "twenty jobs end although slurmrestd, slurmd, a submitter, server and manager were killed and slurmctld restarted" until_true 60 all_ended
expected='' found='' recorded=''
for i in $(seq 20); do
    expected+="$i:$([ $((i % 3)) = 0 ] && echo Succeeded || echo Failed):$((i % 3)) "
    found+="$i:$(of "n-$i" state):$(of "n-$i" exitCode) "
    recorded+=$([ "$(record "n-$i" Name)" = "n-$i" ] && echo "$i " )
done
is "each with its own result" "$expected" "$found"
is "each number is the job's in Slurm's own log" "$(seq 20 | tr '\n' ' ')" "$recorded"
is "none was run twice" "20 0" "$(wc -l <"$SLURM/ran") $(sort "$SLURM/ran" | uniq -d | wc -l)"
is "none was handed over twice" "" "$(grep -o ' Name=n-[0-9]*' "$SLURM/jobcomp.log" | sort | uniq -d)"
ok "a job over its time limit ends" until_true 110 ended limited
is "as Timeout, with what it had printed, and Slurm says so" "Timeout begun TIMEOUT" "$(of limited state) $(of limited stdout) $(record limited JobState)"
# ---- an array: what each task prints is seen while it runs; a Slurm that has lost its whole state meanwhile
job tasks '{array: 0-1, memory: 16Mi, run: "echo begun; while [ ! -e go ]; do sleep 0.1; done; printf finished; exit $SLURM_ARRAY_TASK_ID"}'
job ssh-tasks '{cluster: login, array: 3-4, memory: 16Mi, run: "echo begun; while [ ! -e go ]; do sleep 0.1; done; echo finished"}'
printed() { [ "$(k logs "gpujob/$1" 2>/dev/null | sort | tr '\n' ' ')" = "$2" ]; }
ok "what the tasks of an array print is in the log while they run" until_true 20 printed tasks "[0] begun [1] begun "
ok "over SSH too" until_true 20 printed ssh-tasks "[3] begun [4] begun "
timeout 60 "$kubectl" logs -f gpujob/tasks >"$work/tasks.log" 2>&1 </dev/null &
follower=$!
slurm stop slurmctld
for job in tasks ssh-tasks; do touch "$(echo "$SLURM_JOBS/default.$job."*)/go"; done
codes() { [ "$(cat "$SLURM_JOBS/default.tasks."*/.minik8s/rc.[01] "$SLURM_JOBS/default.ssh-tasks."*/.minik8s/rc.[34] | tr '\n' ' ')" = "0 1 0 0 " ]; }
until_true 20 codes
rm -f "$SLURM"/ctld/job_state* "$SLURM"/ctld/last_config_lite*
slurm start slurmctld
ok "they end although Slurm knows nothing of them any more" until_true 60 all_ended
is "as each task's own exit code says" "Failed 1 1/1 Succeeded 2/0" "$(of tasks state) $(of tasks exitCode) $(of tasks tasks.succeeded)/$(of tasks tasks.failed) $(
    of ssh-tasks state) $(of ssh-tasks tasks.succeeded)/$(of ssh-tasks tasks.failed)"
wait $follower
is "logs -f has told all of it, to the last line" "[0] begun [0] finished [1] begun [1] finished " "$(sort "$work/tasks.log" | tr '\n' ' ')"
k delete gpujobs --all --timeout=90s >/dev/null
no_blobs() { [ -z "$(ls -A "$MINIK8S_DIR/server/blobs")" ]; }
ok "what belongs to deleted jobs goes with them" until_true 10 no_blobs
