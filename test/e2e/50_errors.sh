#!/usr/bin/env bash
# Containers that cannot start say exactly why, in the pod's status and as Events; a pod beside them is not disturbed; what is
# repaired starts.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/inspect.sh"
plan 27

start_cluster 1
pod() { # NAME, the rest of its spec on standard input
    { printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec:\n  terminationGracePeriodSeconds: 1\n' "$1" && cat; } | k apply -f - >/dev/null
}
pod healthy <<<'  containers: [{name: c, image: "localhost/m8-web:1"}]'
ok "a healthy pod is ready" k wait --for=condition=Ready pod healthy --timeout=90s
before=$(identity healthy c)

pod no-image <<<'  containers: [{name: c, image: "localhost/there-is-none:1", imagePullPolicy: Never}]'
pod no-registry <<<'  containers: [{name: c, image: "127.0.0.1:9/none:1"}]'
pod bad-command <<<'  containers: [{name: c, image: "localhost/m8-busybox:1", command: [/no/such/program]}]'
pod exits <<<'  containers: [{name: c, image: "localhost/m8-busybox:1", command: [sh, -c, "echo goodbye; exit 3"]}]'
pod no-config <<<'  containers: [{name: c, image: "localhost/m8-busybox:1", command: [sleep, infinity], envFrom: [{configMapRef: {name: settings}}]}]'
pod no-key <<'END'
  containers: [{name: c, image: "localhost/m8-busybox:1", command: [sleep, infinity], env: [{name: A, valueFrom: {secretKeyRef: {name: keys, key: a}}}]}]
END
pod bad-path <<'END'
  containers: [{name: c, image: "localhost/m8-busybox:1", command: [sleep, infinity], volumeMounts: [{name: v, mountPath: /v}]}]
  volumes: [{name: v, hostPath: {path: /etc/hostname, type: Directory}}]
END

reason_is() { [ "$(waiting_reason "$1")" = "$2" ]; }
ok "imagePullPolicy Never: ErrImageNeverPull" until_true 10 reason_is no-image ErrImageNeverPull
matches "its message names the image" 'localhost/there-is-none:1' "$(field pod no-image '{.status.containerStatuses[0].state.waiting.message}')"
pull_fails() { grep -qE '^(ErrImagePull|ImagePullBackOff)$' <<<"$(waiting_reason no-registry)"; }
ok "a registry that does not answer: ErrImagePull" until_true 15 pull_fails
ok "then ImagePullBackOff" until_true 20 reason_is no-registry ImagePullBackOff
matches "an Event names the image" 'Failed.*127.0.0.1:9/none:1' "$(events_of no-registry)"
ok "a program that is not there: the container's error, or the back-off after it" until_true 10 shows '^(CreateContainerError|RunContainerError|StartError|CrashLoopBackOff)$' waiting_reason bad-command
matches "an Event names the program" 'Failed.*/no/such/program' "$(events_of bad-command)"
ok "a ConfigMap that is not there: CreateContainerConfigError" until_true 10 reason_is no-config CreateContainerConfigError
matches "its message names it" 'configmap "?settings' "$(field pod no-config '{.status.containerStatuses[0].state.waiting.message}' | tr '[:upper:]' '[:lower:]')"
matches "so does an Event" 'settings' "$(events_of no-config)"
ok "a Secret that is not there: CreateContainerConfigError" until_true 10 reason_is no-key CreateContainerConfigError
matches "its message names it" 'keys' "$(field pod no-key '{.status.containerStatuses[0].state.waiting.message}')"
ok "a hostPath of the wrong type: ContainerCreating" until_true 10 reason_is bad-path ContainerCreating
ok "and an Event FailedMount that names the path" until_true 10 shows '^FailedMount: .*/etc/hostname' events_of bad-path
matches "get pods shows the reasons" 'no-config +0/1 +CreateContainerConfigError' "$(k get pods --no-headers)"

# CrashLoopBackOff: each wait is longer than the one before.
ok "a program that ends is restarted, with a back-off" until_true 10 reason_is exits CrashLoopBackOff
is "the exit code is shown" 3 "$(field pod exits '{.status.containerStatuses[0].lastState.terminated.exitCode}')"
is "what it said is kept" goodbye "$(k logs exits --previous)"
starts() { podman_of node-1 ps -a --filter name=^m8_c_exits_ --format '{{.Names}}' | sed 's/.*_//' | sort -n | tail -n 1; }
reached() { [ "$(starts)" -ge "$1" ]; }
at=()
for n in 2 3 4 5; do
    until_true 30 reached $n
    at+=("$(now)")
done
waits="$((at[1] - at[0])) $((at[2] - at[1])) $((at[3] - at[2]))"
ok "the waits between restarts grow: $waits ms" awk -v waits="$waits" 'BEGIN {split(waits, w, " "); exit !(w[2] > 1.5 * w[1] && w[3] > 1.5 * w[2])}'
matches "an Event says so" '^BackOff: ' "$(events_of exits)"

# What was missing comes: the pods start by themselves.
k create configmap settings --from-literal=a=b >/dev/null
k create secret generic keys --from-literal=a=b >/dev/null
since=$(now)
ok "the ConfigMap comes: the pod starts" k wait --for=condition=Ready pod no-config --timeout=90s
ok "the Secret comes: the pod starts" k wait --for=condition=Ready pod no-key --timeout=90s
note "after $(($(now) - since)) ms"

is "the healthy pod was not disturbed" "$before" "$(identity healthy c)"
is "nor restarted" 0 "$(field pod healthy '{.status.containerStatuses[0].restartCount}')"
ok "all can be deleted" k delete pods --all --timeout=90s
is "podman has none of them" 0 "$(podman_of node-1 ps -a --format '{{.Names}}' | grep -c m8_)"
