# Sourced after lib.sh by the stories about GPUJobs: a real Slurm beside the cluster, and its jobs as both sides see them.
#uses: sed grep cut jq
SLURM=/var/lib/minik8s/slurm-$story
slurm() { local verb=$1; shift; ci/slurm "$verb" --dir "$SLURM" "$@"; }
leave() { ci/slurm down --dir "$SLURM" >&2; finish; }
trap leave EXIT

# Images and Slurm, at the address of the cluster's bridge; the SlurmClusters default (REST), login (SSH) and claimed.
start_slurm() {
    manifests/images/build "$BUILD/images" submitter busybox >"$work/images.log" 2>&1 || { cat "$work/images.log"; echo "Bail out! no images"; exit 1; }
    "$minik8s" cluster load "$BUILD"/images/m8-{submitter,busybox}-1.tar || { echo "Bail out! load"; exit 1; }
    api=$(sed -n 's|^ *server: https://\(.*\)\.[0-9]*:.*|\1|p' "$MINIK8S_DIR/kubeconfig")
    slurm down
    slurm up --address "$api.254" >"$work/slurm.env" || { echo "Bail out! no slurm"; exit 1; }
    . "$work/slurm.env"
    k create secret generic slurm --from-file=jwt_hs256.key="$SLURM_JWT_KEY" >/dev/null
    sed "s|http://10.0.0.1:6820|$SLURM_REST|; s|/srv/slurm/jobs|$SLURM_JOBS|" manifests/gpu/cluster.yaml | k apply -f - >/dev/null
    # The same Slurm once more, without its REST daemon.
    echo "[$api.254]:$SLURM_SSH_PORT $(cut -d' ' -f1,2 "$SLURM/ssh/host.pub")" >"$work/known_hosts"
    k create secret generic slurm-ssh --from-file=ssh-privatekey="$SLURM_SSH_KEY" --from-file=known_hosts="$work/known_hosts" >/dev/null
    sed "s|10.0.0.1, port: 22|$api.254, port: $SLURM_SSH_PORT|; s|/srv/slurm/jobs|$SLURM_JOBS|" manifests/gpu/cluster-ssh.yaml | k apply -f - >/dev/null
    sed "s|http://10.0.0.1:6820|$SLURM_REST|; s|/srv/slurm/jobs|$SLURM_JOBS|" manifests/gpu/cluster-claim.yaml | k apply -f - >/dev/null
}

of() { field gpujob "$1" "{.status.$2}"; }
ended() { [ "$(of "$1" done)" = true ]; }
all_ended() { [ "$(k get gpujobs -o json | jq '[.items[] | select(.status.done != true and .metadata.name != "limited")] | length')" = 0 ]; }
job() { # NAME SPEC (YAML flow)
    printf 'apiVersion: minik8s.io/v1\nkind: GPUJob\nmetadata: {name: %s}\nspec: %s\n' "$1" "$2" | k apply -f - >/dev/null || note "job $1 is refused"
}
record() { grep "^JobId=$(of "$1" slurmId) " "$SLURM/jobcomp.log" | grep -o " $2=[^ ]*" | cut -d= -f2; } # NAME FIELD of Slurm's own log
running() { [ "$(of "$1" state)" = Running ]; }
