/*
 * verbs.h: the one table of verbs: X(NAME, GROUP, HELP, USAGE, EXAMPLES). The dispatcher, the help text and
 * the suggestions are made from it. Groups appear in the order of their first verb.
 */
#ifndef M8_CMD_VERBS_H
#define M8_CMD_VERBS_H

#define KUBECTL_VERBS(X)                                                                                      \
    X(get, "Look", "show objects", "get (KIND [NAME…] | KIND/NAME… | -f FILE)",                               \
      "minikubectl get pods -o wide\n  minikubectl get deploy/web svc/web\n"                                  \
      "  minikubectl get pods -l app=web -w\n"                                                                \
      "  minikubectl get pods -o custom-columns=NAME:.metadata.name,NODE:.spec.nodeName")                     \
    X(describe, "Look", "show one object with everything that belongs to it",                                 \
      "describe (KIND [NAME | PREFIX] | KIND/NAME… | -f FILE)",                                               \
      "minikubectl describe node node-1\n  minikubectl describe pods -l app=web")                             \
    X(logs, "Look", "print what a container wrote", "logs (POD | KIND/NAME | -l SELECTOR) [-c CONTAINER]",    \
      "minikubectl logs -f deployment/web\n  minikubectl logs web-1 -c main --previous --tail=20\n"           \
      "  minikubectl logs -l app=web --prefix --since=10m --timestamps")                                      \
    X(top, "Look", "what nodes, pods and containers use", "top (node | pod) [NAME]",                          \
      "minikubectl top node\n  minikubectl top pod --containers --sort-by=memory")                            \
    X(explain, "Look", "what a kind or a field is for", "explain KIND[.FIELD…]",                              \
      "minikubectl explain deployment.spec.strategy\n  minikubectl explain pod --recursive")                  \
    X(diff, "Look", "what apply would change", "diff -f (FILE | FOLDER | -)",                                 \
      "minikubectl diff -f web.yaml || echo 'it differs'")                                                    \
    X(wait, "Look", "wait for a condition, a value, creation or deletion",                                    \
      "wait (KIND NAME… | KIND/NAME… | KIND -l SELECTOR | KIND --all) --for=WHAT",                            \
      "minikubectl wait pod/web-1 --for=condition=Ready --timeout=60s\n"                                      \
      "  minikubectl wait deploy/web --for=jsonpath='{.status.readyReplicas}'=3")                             \
    X(version, "Look", "versions of client and server", "version", "minikubectl version --client")            \
    X(apply, "Change", "make the cluster agree with manifests", "apply -f (FILE | FOLDER | -)",               \
      "minikubectl apply -f web.yaml\n  minikubectl apply -f manifests/ --dry-run=server\n"                   \
      "  minikubectl apply --server-side --field-manager=ci -f web.yaml")                                     \
    X(create, "Change", "make objects from manifests, or from flags",                                         \
      "create (-f FILE | KIND NAME | token ACCOUNT)",                                                         \
      "minikubectl create deployment web --image=localhost/m8-web:1 --replicas=3\n"                           \
      "  minikubectl create configmap settings --from-literal=colour=red --from-file=app.ini\n"               \
      "  minikubectl create job once --image=localhost/m8-busybox:1 -- date\n"                                \
      "  minikubectl create cronjob tick --image=localhost/m8-busybox:1 --schedule='* * * * *' -- date\n"     \
      "  minikubectl create service clusterip web --tcp=80:8080\n"                                            \
      "  minikubectl create ingress web --rule='shop.test/*=web:80'\n"                                        \
      "  minikubectl create pdb web --selector=app=web --min-available=2\n"                                   \
      "  minikubectl create role reader --verb=get,list --resource=pods,pods/log\n"                           \
      "  minikubectl create rolebinding anna --role=reader --user=anna\n"                                     \
      "  minikubectl create (namespace | serviceaccount | secret generic | secret tls | quota | "             \
      "priorityclass | clusterrole | clusterrolebinding) …\n"                                               \
      "  minikubectl create token reader --duration=2h    # of a service account; machines: token create")    \
    X(replace, "Change", "make objects exactly what manifests say", "replace -f (FILE | FOLDER | -)",         \
      "minikubectl replace -f web.yaml\n  minikubectl replace --force -f pod.yaml")                           \
    X(edit, "Change", "change objects in an editor", "edit KIND/NAME…",                                       \
      "minikubectl edit deployment/web\n  KUBE_EDITOR=nano minikubectl edit cm settings")                     \
    X(delete, "Change", "delete objects",                                                                     \
      "delete (KIND NAME… | KIND/NAME… | KIND -l SELECTOR | KIND --all | -f FILE)",                           \
      "minikubectl delete pod web-1\n  minikubectl delete pods -l app=web --wait=false")                      \
    X(patch, "Change", "change fields of an object",                                                          \
      "patch KIND/NAME -p PATCH [--type=strategic|merge|json]",                                               \
      "minikubectl patch node node-1 -p '{\"metadata\":{\"labels\":{\"disk\":\"ssd\"}}}'")                    \
    X(label, "Change", "set or remove labels",                                                                \
      "label (KIND NAME… | KIND -l SELECTOR | KIND --all) KEY=VALUE… KEY-…",                                  \
      "minikubectl label node node-1 disk=ssd\n  minikubectl label pods --all tier-")                         \
    X(annotate, "Change", "set or remove annotations",                                                        \
      "annotate (KIND NAME… | KIND -l SELECTOR | KIND --all) KEY=VALUE… KEY-…",                               \
      "minikubectl annotate deploy/web kubernetes.io/change-cause='new colour'")                              \
    X(scale, "Run", "set the number of replicas", "scale KIND/NAME… --replicas=N",                            \
      "minikubectl scale deployment web --replicas=9")                                                        \
    X(autoscale, "Run", "let a workload be scaled by its use", "autoscale KIND/NAME --max=N [--min=N]",       \
      "minikubectl autoscale deployment web --min=2 --max=10 --cpu=70%")                                      \
    X(rollout, "Run", "status, history, undo, pause, resume, restart of a workload",                          \
      "rollout (status | history | undo | pause | resume | restart) KIND/NAME",                               \
      "minikubectl rollout status deploy/web --timeout=2m\n"                                                  \
      "  minikubectl rollout undo deploy/web --to-revision=2")                                                \
    X(set, "Run", "change image, environment, resources, service account, selector",                          \
      "set (image | env | resources | serviceaccount | selector) KIND/NAME …",                                \
      "minikubectl set image deployment/web web=localhost/m8-web:2\n"                                         \
      "  minikubectl set env deployment/web COLOUR=red OLD-\n"                                                \
      "  minikubectl set resources deployment/web -c web --limits=cpu=1,memory=256Mi\n"                       \
      "  minikubectl set selector service/web app=web,track=stable")                                          \
    X(expose, "Run", "make a Service for a workload",                                                         \
      "expose KIND/NAME --port=PORT [--target-port=PORT] [--name=NAME] [--type=TYPE]",                        \
      "minikubectl expose deployment web --port=80 --target-port=8080")                                       \
    X(run, "Run", "run an image as a pod", "run NAME --image=IMAGE [-- ARGUMENT…]",                           \
      "minikubectl run -it --rm look --image=localhost/m8-busybox:1 --restart=Never -- sh")                   \
    X(attach, "Run", "join what a container does already", "attach [-it] (POD | KIND/NAME) [-c CONTAINER]",   \
      "minikubectl attach web-1\n  minikubectl attach -it shell -c main")                                     \
    X(cp, "Run", "copy files and folders into and out of containers",                                         \
      "cp (FILE [NAMESPACE/]POD:PATH | [NAMESPACE/]POD:PATH FILE) [-c CONTAINER]",                            \
      "minikubectl cp settings.ini web-1:/etc/web/\n  minikubectl cp default/web-1:/var/log ./log")           \
    X(port_forward, "Run", "local ports that lead into a pod",                                                \
      "port-forward (POD | KIND/NAME) [LOCAL:]REMOTE…",                                                       \
      "minikubectl port-forward web-1 8080\n  minikubectl port-forward svc/web 8080:http :443")               \
    X(debug, "Run", "look into a pod, a copy of it, or a node",                                               \
      "debug (POD | node/NODE) --image=IMAGE [-it] [-- COMMAND…]",                                            \
      "minikubectl debug -it web-1 --image=localhost/m8-busybox:1 --target=web -- sh\n"                       \
      "  minikubectl debug web-1 -it --copy-to=web-1-copy --container=web -- sh\n"                            \
      "  minikubectl debug node/node-2 -it --image=localhost/m8-busybox:1 -- sh")                             \
    X(exec, "Run", "run a command in a container",                                                            \
      "exec [-it] (POD | KIND/NAME) [-c CONTAINER] -- COMMAND…",                                              \
      "minikubectl exec -it web-1 -- sh\n  minikubectl exec -i web-1 -- tar xf - < files.tar")                \
    X(gpujob, "Run", "send a folder to Slurm as a job, fetch its results, cancel it",                         \
      "gpujob (submit [FOLDER] [-f FILE] [--name NAME] [-- COMMAND…] | results NAME -o FOLDER | cancel "    \
      "NAME…)",                                                                                               \
      "minikubectl gpujob submit ./matmul -f job.yaml\n"                                                      \
      "  minikubectl gpujob submit ./matmul --name mm -- sh run.sh\n"                                         \
      "  minikubectl gpujob submit -f job.yaml --dry-run     # the script that sbatch would get\n"            \
      "  minikubectl logs -f gpujob/mm\n  minikubectl gpujob results mm -o ./out")                            \
    X(cordon, "Operate", "let nodes receive nothing new", "cordon NODE…", "minikubectl cordon node-2")        \
    X(uncordon, "Operate", "let nodes receive pods again", "uncordon NODE…", "minikubectl uncordon node-2")   \
    X(drain, "Operate", "empty nodes of their pods, keeping budgets", "drain NODE…",                          \
      "minikubectl drain node-2 --ignore-daemonsets --delete-emptydir-data")                                  \
    X(taint, "Operate", "keep pods off nodes", "taint node NODE… KEY[=VALUE]:EFFECT… KEY[:EFFECT]-…",         \
      "minikubectl taint node node-2 dedicated=db:NoSchedule\n  minikubectl taint node node-2 dedicated-")    \
    X(auth, "Operate", "what one may do, and who one is",                                                     \
      "auth (can-i VERB RESOURCE | can-i --list | whoami [-o FORMAT])",                                       \
      "minikubectl auth can-i delete pods -n shop")                                                           \
    X(config, "Operate", "the kubeconfig in force", "config (view | current-context | get-contexts)",         \
      "minikubectl config view")                                                                              \
    X(cluster_info, "Operate", "where the cluster answers", "cluster-info", "minikubectl cluster-info")       \
    X(completion, "Operate", "completion of words for a shell", "completion bash",                            \
      "source <(minikubectl completion bash)")                                                                \
    X(backup, "Operate", "copy all that the server keeps into a folder on its machine", "backup [NAME]",      \
      "minikubectl backup before-upgrade     # prints the folder\n\n"                                         \
      "To go back: stop the server, put the folder's store and blobs in the place of its own, start it.\n"    \
      "Manager and agents then begin anew by themselves: what they have seen since is no more.")              \
    X(token, "Operate", "make, list and delete the tokens with which machines join",                          \
      "token (create [--node=NODE] [--ttl=24h] [--reusable] | list | delete ID…)",                            \
      "minikubectl token create --node=worker-1\n  minikubectl token list")                                   \
    X(policy, "Operate", "the policies that decide: look, change, test, look back",                           \
      "policy (list | show NAME | apply -f FILE.lua | use POINT (NAME[=WEIGHT]… | default) |\n"             \
      "         rollback (POINT | NAME) | disable POINT NAME | settings POINT NAME [KEY=VALUE | KEY-]… |\n" \
      "         log [--plot] | test [FILE.lua] [--replay=1h] | shadow (FILE.lua | POINT NAME… |\n"          \
      "         POINT none) | diff (NAME | -f FILE.lua))\n"                                                   \
      "  -n NAMESPACE: what decides in that namespace, or decisions about its objects",                       \
      "minikubectl policy list\n  minikubectl policy apply -f zone.lua\n"                                     \
      "  minikubectl policy use scheduler.score zone=10 spread -n team\n"                                     \
      "  minikubectl policy log --object=default/web-1\n  minikubectl policy log --plot --since=10m\n"        \
      "  minikubectl policy test zone.lua --replay=1h\n  minikubectl policy test --replay=10m\n"              \
      "  minikubectl policy shadow zone.lua && minikubectl policy log --point=scheduler.score\n"              \
      "  minikubectl policy settings autoscale.decide target-utilization tolerance=0.2")                      \
    X(repl, "Operate", "Lua in the control plane: look, ask why, try policies, change things",                \
      "repl [-e EXPRESSION…] [FILE.lua…] [-o json]",                                                          \
      "minikubectl repl\n  minikubectl repl -e '#k.pods{}'\n"                                                 \
      "  minikubectl repl -e 'k.why(\"pod/web-1\")'\n  minikubectl repl -o json report.lua")                  \
    X(api_resources, "Look", "list the kinds that the server knows", "api-resources",                         \
      "minikubectl api-resources")                                                                            \
    X(api_versions, "Look", "list the groups and versions that the server knows", "api-versions",             \
      "minikubectl api-versions")

#endif
