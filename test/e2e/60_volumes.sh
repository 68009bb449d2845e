#!/usr/bin/env bash
# Volumes: what one container writes another reads; memory is a tmpfs with its limit; the machine's folder; ConfigMap, Secret and
# the pod's own fields as files, with their modes, and new within two seconds of a change.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/inspect.sh"
plan 41

start_cluster 1
machine=$work/host
mkdir -p "$machine"
echo "of the machine" >"$machine/file"
k create configmap settings --from-literal=color=red --from-literal=size=big >/dev/null
k create secret generic keys --from-literal=password=hunter2 >/dev/null
k apply -f - >/dev/null <<END
apiVersion: v1
kind: Pod
metadata: {name: volumes, labels: {team: blue}, annotations: {note: first}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: a
      image: localhost/m8-busybox:1
      command: [sleep, infinity]
      volumeMounts: &mounts
        - {name: shared, mountPath: /shared}
        - {name: fast, mountPath: /fast}
        - {name: machine, mountPath: /machine}
        - {name: settings, mountPath: /settings}
        - {name: chosen, mountPath: /chosen}
        - {name: keys, mountPath: /keys, readOnly: true}
        - {name: self, mountPath: /self}
        - {name: all, mountPath: /all}
    - name: b
      image: localhost/m8-busybox:1
      command: [sleep, infinity]
      volumeMounts: *mounts
    - name: c
      image: localhost/m8-busybox:1
      command: [sleep, infinity]
      volumeMounts:
        - {name: shared, mountPath: /part, subPath: part}
        - {name: shared, mountPath: /shared, readOnly: true}
  volumes:
    - {name: shared, emptyDir: {}}
    - {name: fast, emptyDir: {medium: Memory, sizeLimit: 8Mi}}
    - {name: machine, hostPath: {path: $machine, type: Directory}}
    - {name: settings, configMap: {name: settings}}
    - {name: chosen, configMap: {name: settings, defaultMode: 0440, items: [{key: color, path: paint/colour}]}}
    - {name: keys, secret: {secretName: keys, defaultMode: 0400}}
    - {name: self, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}, {path: name, fieldRef: {fieldPath: metadata.name}}, {path: note, fieldRef: {fieldPath: "metadata.annotations['note']"}}]}}
    - name: all
      projected:
        sources:
          - configMap: {name: settings, items: [{key: size, path: size}]}
          - secret: {name: keys}
          - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
END
ok "a pod of three containers with eight volumes is ready" k wait --for=condition=Ready pod volumes --timeout=90s
in_a() { k exec volumes -c a -- "$@"; }
in_b() { k exec volumes -c b -- "$@"; }
in_c() { k exec volumes -c c -- "$@"; }

in_a sh -c 'echo from a >/shared/file'
is "what a writes b reads" "from a" "$(in_b cat /shared/file)"
in_b sh -c 'echo from b >>/shared/file'
is "what b adds a reads" "from a from b" "$(in_a cat /shared/file | xargs)"
in_a sh -c 'mkdir -p /shared/part; echo part >/shared/part/file'
is "c has a folder of it (subPath)" part "$(in_c cat /part/file)"
ok "c may not write where it mounts readOnly" refuses in_c sh -c 'echo x >/shared/file'
kill -KILL "$(pid_of volumes a)"
again() { [ "$(field pod volumes '{.status.containerStatuses[?(@.name=="a")].restartCount}')" = 1 ] && in_a true; }
ok "a dies and starts again" until_true 10 again
is "the files are still there" "from a from b" "$(in_a cat /shared/file | xargs)"

is "medium Memory is a tmpfs" tmpfs "$(in_a sh -c "awk '\$2 == \"/fast\" {print \$3}' /proc/mounts")"
in_a sh -c 'echo fast >/fast/file'
is "also shared" fast "$(in_b cat /fast/file)"
ok "it holds less than 8 MiB (sizeLimit)" refuses in_a dd if=/dev/zero of=/fast/big bs=1M count=16
in_a rm -f /fast/big
is "medium disk is none" "" "$(in_a sh -c "awk '\$2 == \"/shared\" && \$3 == \"tmpfs\" && /size=/' /proc/mounts" | grep 'size=8192k')"

is "hostPath: the machine's file is in the container" "of the machine" "$(in_a cat /machine/file)"
in_b sh -c 'echo of b >/machine/new'
is "and the container's on the machine" "of b" "$(cat "$machine/new")"

is "a ConfigMap's keys are files" "color size" "$(in_a ls /settings | xargs)"
is "with their values" redbig "$(in_a cat /settings/color /settings/size)"
is "items: chosen key, own path" red "$(in_a cat /chosen/paint/colour)"
is "items: nothing else" paint "$(in_a ls /chosen)"
is "defaultMode 0440" 440 "$(in_a stat -Lc %a /chosen/paint/colour)"
is "the default mode is 0644" 644 "$(in_a stat -Lc %a /settings/color)"
is "a Secret's value" hunter2 "$(in_b cat /keys/password)"
is "defaultMode 0400" 400 "$(in_b stat -Lc %a /keys/password)"
ok "readOnly" refuses in_a sh -c 'echo x >/keys/password'
is "a Secret lies in memory" tmpfs "$(in_b sh -c "awk '\$2 == \"/keys\" {print \$3}' /proc/mounts")"
is "the pod's labels" 'team="blue"' "$(in_a cat /self/labels)"
is "the pod's name" volumes "$(in_a cat /self/name)"
is "an annotation" first "$(in_a cat /self/note)"
is "projected: one folder of three sources" "namespace password size" "$(in_a ls /all | xargs)"
is "projected: their values" "default hunter2 big" "$(in_a sh -c 'for f in namespace password size; do cat /all/$f; echo; done' | xargs)"

# A changed source is a changed file, without a restart.
before=$(identity volumes b)
reads() { [ "$(in_b cat "$1")" = "$2" ]; }
since=$(now)
k patch configmap settings -p '{"data":{"color":"green"}}' >/dev/null
within 2000 "a changed ConfigMap is a changed file" 10 reads /settings/color green
k patch secret keys -p "{\"data\":{\"password\":\"$(printf better | base64)\"}}" >/dev/null
since=$(now)
within 2000 "a changed Secret too" 10 reads /keys/password better
since=$(now)
k annotate pod volumes note=second --overwrite >/dev/null
within 2000 "a changed annotation too" 10 reads /self/note second
is "without a restart" "$before" "$(identity volumes b)"

# subPath: what a container has linked in the volume leads nowhere but into the volume.
k apply -f - >/dev/null <<END
apiVersion: v1
kind: Pod
metadata: {name: linked}
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
    - name: plant
      image: localhost/m8-busybox:1
      command: [sh, -c, "mkdir /shared/real && ln -s real /shared/inside && ln -s $machine /shared/out && ln -s ../../../../../../../../tmp /shared/up"]
      volumeMounts: [{name: shared, mountPath: /shared}]
  containers:
    - name: inside
      image: localhost/m8-busybox:1
      command: [sleep, infinity]
      volumeMounts:
        - {name: shared, mountPath: /shared}
        - {name: shared, mountPath: /kept, subPath: inside/kept}
        - {name: root, mountPath: /machine, subPath: ${machine#/}, readOnly: true}
        - {name: settings, mountPath: /color, subPath: color}
    - {name: out, image: "localhost/m8-busybox:1", command: [sleep, infinity], volumeMounts: [{name: shared, mountPath: /out, subPath: out/new/deep}]}
    - {name: up, image: "localhost/m8-busybox:1", command: [sleep, infinity], volumeMounts: [{name: shared, mountPath: /up, subPath: up}]}
  volumes:
    - {name: shared, emptyDir: {}}
    - {name: root, hostPath: {path: /}}
    - {name: settings, configMap: {name: settings}}
END
waits() { field pod linked "{.status.containerStatuses[?(@.name==\"$1\")].state.waiting.$2}"; }
machine_state() { stat -c '%n %a %u %g %y %Z' "$machine" "$machine"/*; }
before=$(machine_state)
refused_part() { [ "$(waits out reason) $(waits up reason)" = "CreateContainerError CreateContainerError" ]; }
ok "subPath through links that lead out of the volume: CreateContainerError" until_true 30 refused_part
is "which says why" 'subPath "out/new/deep" leads out of the volume' "$(waits out message)"
is "and nothing on the machine has changed" "$before" "$(machine_state)"
in_linked() { k exec linked -c inside -- "$@"; }
ok "the container beside them runs" until_true 20 in_linked true
in_linked sh -c 'echo kept >/kept/file'
is "a link that stays inside is followed, what is missing is made" kept "$(in_linked cat /shared/real/kept/file)"
is "a part of the machine's /, a single key" "of the machine green" "$(in_linked sh -c 'cat /machine/file; cat /color' | xargs)"
ok "which is readOnly" refuses in_linked sh -c 'echo x >/machine/file'

# After the pods nothing of their volumes is left, but what is the machine's.
k delete pod volumes linked --timeout=90s >/dev/null
ok "after deletion none of its mounts is left" until_true 5 sh -c "! grep -q '$MINIK8S_DIR/nodes/node-1/agent/volumes/' /proc/self/mountinfo"
is "the machine's files stay" "of b" "$(cat "$machine/new")"
