#!/usr/bin/env bash
# 21_backup: a backup is made while the server runs; the cluster goes back to it, and runs what was there then.
#uses: rm cp cut sort base64
. "$(dirname "$0")/lib.sh"
plan 8
start_cluster 1
server=$MINIK8S_DIR/server
web() { k create deployment "$1" --image=localhost/m8-web:1 --replicas=2 >/dev/null; }
web kept
ok "two pods run" until_true 30 ready_is kept 2
pods=$(podman_of node-1 ps --no-trunc --format '{{.ID}}' | sort)
k create secret generic words --from-literal=word=sesame >/dev/null
folder=$(k backup one)
is "a backup is a folder of the server" "$server/backups/one" "$folder"
web later
k delete secret words >/dev/null
ok "meanwhile two more run" until_true 30 ready_is later 2

# Back: server, manager and agent stand still while the store is changed for the copy.
"$minik8s" cluster restart all --kill --down-for 5 >"$work/restart.log" 2>&1 &
restart=$!
down() { ! kill -0 "$(cut -d' ' -f1 "$server/server.pid")" 2>/dev/null; }
until_true 5 down
rm -rf "$server/store" "$server/blobs"
cp -r "$folder/store" "$folder/blobs" "$server/"
wait $restart
is "the cluster starts from it" 0 $?
gone() { local out; out=$(k get deployments -o name 2>&1) && [ "$out" = deployment.apps/kept ]; }
ok "what came later is unknown" until_true 20 gone
is "what was deleted since is there, and can be read" sesame "$(field secret words '{.data.word}' | base64 -d)"
one_deployment() { [ "$(podman_of node-1 ps --no-trunc --format '{{.ID}}' | sort)" = "$pods" ]; }
ok "the node runs what was there then, the same containers, and no more" until_true 60 one_deployment
ok "and all of it is Ready" until_true 30 ready_is kept 2
