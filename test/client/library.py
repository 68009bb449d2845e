"""The Kubernetes client library of Python, unmodified, as its users write: typed and dynamic clients, watches, streams.
Prints TAP; started by library.sh with KUBECONFIG set."""

import json
import os
import sys
import tarfile
import tempfile
import threading

from kubernetes import client, config, dynamic, stream, watch, utils
from kubernetes.client.rest import ApiException

IMAGE = "localhost/m8-busybox:1"
done = failed = 0


def ok(name, good, found=""):
    global done, failed
    done += 1
    failed += not good
    print(f"{'ok' if good else 'not ok'} {done} - {name}", flush=True)
    if not good:
        print(f"# found: {found!r}", flush=True)


def equal(name, expected, found):
    ok(name, expected == found, found)


def refusal(call, *arguments, **named):
    try:
        call(*arguments, **named)
        return None
    except ApiException as error:
        return error.status


def deployment(name, replicas):
    labels = {"app": name}
    container = client.V1Container(name="main", image=IMAGE, command=["sh", "-c", "echo speaks; exec sleep 1000"],
                                   env=[client.V1EnvVar(name="COLOUR", value="blue")])
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels),
        spec=client.V1PodSpec(containers=[container], termination_grace_period_seconds=0))
    spec = client.V1DeploymentSpec(replicas=replicas, selector=client.V1LabelSelector(match_labels=labels), template=template)
    return client.V1Deployment(metadata=client.V1ObjectMeta(name=name, labels=labels), spec=spec)


def typed(core, apps):
    made = apps.create_namespaced_deployment("default", deployment("lib", 2))
    equal("create: typed, with defaults", ("RollingUpdate", 1), (made.spec.strategy.type, made.metadata.generation))
    equal("create again", 409, refusal(apps.create_namespaced_deployment, "default", deployment("lib", 2)))
    for event in watch.Watch().stream(apps.list_namespaced_deployment, "default", label_selector="app=lib", timeout_seconds=60):
        if event["object"].status.ready_replicas == 2:
            break
    equal("watch until it is ready", 2, event["object"].status.ready_replicas)
    pods = core.list_namespaced_pod("default", label_selector="app=lib").items
    ok("list by label", len(pods) == 2 and all(pod.status.pod_ip for pod in pods), [pod.metadata.name for pod in pods])
    page = core.list_namespaced_pod("default", label_selector="app=lib", limit=1)
    rest = core.list_namespaced_pod("default", label_selector="app=lib", limit=1, _continue=page.metadata._continue)
    equal("list in pages", {pod.metadata.name for pod in pods}, {page.items[0].metadata.name, rest.items[0].metadata.name})
    one = core.list_namespaced_pod("default", field_selector=f"metadata.name={pods[0].metadata.name}").items
    equal("list by field", [pods[0].metadata.name], [pod.metadata.name for pod in one])
    equal("not there", 404, refusal(core.read_namespaced_pod, "nothing", "default"))
    equal("not a name", 422, refusal(core.create_namespaced_config_map, "default", {"metadata": {"name": "No_Name"}}))
    patched = apps.patch_namespaced_deployment("lib", "default", {"spec": {"template": {"spec": {"containers": [
        {"name": "main", "env": [{"name": "SIZE", "value": "big"}]}]}}}})
    names = [each.name for each in patched.spec.template.spec.containers[0].env]
    equal("strategic patch: the lists are merged", {"COLOUR", "SIZE"}, set(names))
    stale = apps.read_namespaced_deployment("lib", "default")
    apps.patch_namespaced_deployment_scale("lib", "default", {"spec": {"replicas": 1}})
    equal("scale", 1, apps.read_namespaced_deployment_scale("lib", "default").spec.replicas)
    stale.spec.replicas = 7
    equal("replace what has changed meanwhile", 409, refusal(apps.replace_namespaced_deployment, "lib", "default", stale))
    status = 409
    while status == 409:  # its status moves meanwhile: what a client does then
        fresh = apps.read_namespaced_deployment("lib", "default")
        fresh.metadata.annotations = {"note": "x"}
        status = refusal(apps.replace_namespaced_deployment, "lib", "default", fresh)
    equal("replace", (None, "x"), (status, apps.read_namespaced_deployment("lib", "default").metadata.annotations["note"]))


def watched(core):
    first = core.list_namespaced_config_map("default")
    core.create_namespaced_config_map("default", {"metadata": {"name": "seen"}, "data": {"a": "1"}})
    core.patch_namespaced_config_map("seen", "default", {"data": {"a": "2"}})
    core.delete_namespaced_config_map("seen", "default")
    types = []
    for event in watch.Watch().stream(core.list_namespaced_config_map, "default", timeout_seconds=20,
                                      resource_version=first.metadata.resource_version):
        types.append((event["type"], event["object"].data.get("a")))
        if event["type"] == "DELETED":
            break
    equal("watch from a revision: everything since, in order", [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")], types)
    ended = list(watch.Watch().stream(core.list_namespaced_secret, "none", timeout_seconds=1))
    equal("a watch ends after its time", [], ended)


def streams(core):
    core.create_namespaced_pod("default", {"metadata": {"name": "box"}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [
        {"name": "main", "image": IMAGE, "command": ["sh", "-c", "echo one; echo two; exec httpd -f -p 8080 -h /etc"]}]}})
    for event in watch.Watch().stream(core.list_namespaced_pod, "default", field_selector="metadata.name=box", timeout_seconds=60):
        if event["object"].status.phase == "Running":
            break
    equal("logs", "one\ntwo\n", core.read_namespaced_pod_log("box", "default"))
    equal("logs, the last line", "two\n", core.read_namespaced_pod_log("box", "default", tail_lines=1))
    follow = watch.Watch()
    lines = []
    for line in follow.stream(core.read_namespaced_pod_log, "box", "default", follow=True):
        lines.append(line)
        if len(lines) == 2:
            follow.stop()
            break
    equal("logs that are followed", ["one", "two"], lines)
    run = core.connect_get_namespaced_pod_exec
    both = stream.stream(run, "box", "default", command=["sh", "-c", "echo out; echo err >&2"], stdout=True, stderr=True,
                         stdin=False, tty=False, _preload_content=False)
    both.run_forever(timeout=20)
    equal("exec: output and errors apart", ("out\n", "err\n"), (both.read_stdout(), both.read_stderr()))
    shell = stream.stream(run, "box", "default", command=["sh", "-c", "read line; echo got $line; exit 3"], stdout=True, stderr=True, stdin=True,
                          tty=False, _preload_content=False)
    shell.write_stdin("hello\n")
    shell.run_forever(timeout=20)
    equal("exec: standard input", "got hello\n", shell.read_stdout())
    equal("exec: exit code", 3, shell.returncode)
    wrong = stream.stream(run, "box", "default", command=["/none"], stdout=True, stderr=True, _preload_content=False)
    wrong.run_forever(timeout=20)
    said = wrong.read_stderr()
    equal("exec of what is not there: the code", 127, wrong.returncode)
    ok("and says so", "/none" in said, said)
    forward = stream.portforward(core.connect_get_namespaced_pod_portforward, "box", "default", ports="8080")
    socket = forward.socket(8080)
    socket.setblocking(True)
    socket.sendall(b"GET /hostname HTTP/1.0\r\n\r\n")
    answer = b""
    while True:
        data = socket.recv(4096)
        if not data:
            break
        answer += data
    ok("port-forward", answer.endswith(b"box\n"), answer)


def copy_in(core):
    """cp as the library's examples do it: a tar through exec."""
    with tempfile.TemporaryFile() as buffer:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.add(__file__, arcname="library.py")
        buffer.seek(0)
        text = buffer.read().decode()
    box = stream.stream(core.connect_get_namespaced_pod_exec, "box", "default", command=["tar", "xf", "-", "-C", "/tmp"],
                        stdin=True, stdout=True, stderr=True, _preload_content=False)
    box.write_stdin(text)
    box.close()
    size = str(os.path.getsize(__file__))
    for _ in range(50):
        found = stream.stream(core.connect_get_namespaced_pod_exec, "box", "default", command=["wc", "-c", "/tmp/library.py"],
                              stdin=False, stdout=True, stderr=True)
        if found.split()[:1] == [size]:
            break
    equal("a file through exec", size, found.split()[0])


def dynamic_client(api):
    kinds = dynamic.DynamicClient(api)
    crds = kinds.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    crds.create(body={"metadata": {"name": "lamps.lib.example"}, "spec": {
        "group": "lib.example", "scope": "Namespaced", "names": {"plural": "lamps", "kind": "Lamp"},
        "versions": [{"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": {
            "type": "object", "properties": {"spec": {"type": "object", "properties": {"watts": {"type": "integer", "maximum": 100}}},
                                             "status": {"type": "object", "properties": {"lit": {"type": "boolean"}}}}}}}]}})
    lamps = None
    for _ in range(50):
        try:
            lamps = kinds.resources.get(api_version="lib.example/v1", kind="Lamp")
            break
        except dynamic.exceptions.ResourceNotFoundError:
            kinds = dynamic.DynamicClient(api)
    ok("a custom kind is discovered", lamps is not None)
    lamps.create(namespace="default", body={"apiVersion": "lib.example/v1", "kind": "Lamp", "metadata": {"name": "desk"}, "spec": {"watts": 7}})
    equal("a custom object", 7, lamps.get(name="desk", namespace="default").spec.watts)
    patched = lamps.patch(name="desk", namespace="default", body={"spec": {"watts": 9}}, content_type="application/merge-patch+json")
    equal("its patch", 9, patched.spec.watts)
    custom = client.CustomObjectsApi(api)
    told = custom.patch_namespaced_custom_object_status("lib.example", "v1", "default", "lamps", "desk", {"status": {"lit": True}})
    equal("its status", True, told["status"]["lit"])
    equal("a wrong value", 422, refusal(custom.patch_namespaced_custom_object, "lib.example", "v1", "default", "lamps", "desk", {"spec": {"watts": 900}}))
    applied = {"apiVersion": "lib.example/v1", "kind": "Lamp", "metadata": {"name": "desk"}, "spec": {"watts": 11}}
    apply = {"name": "desk", "namespace": "default", "body": json.dumps(applied), "content_type": "application/apply-patch+yaml"}
    equal("apply: what another owns", 409, refusal(lamps.patch, **apply, field_manager="shop"))
    kept = lamps.patch(**apply, field_manager="shop", force_conflicts=True)
    equal("apply by force", (11, True), (kept.spec.watts, kept.status.lit))
    crds.delete(name="lamps.lib.example")


def files(api, core):
    utils.create_from_yaml(api, "manifests/demo/web.yaml")
    equal("create from a manifest", ("web", 80), ((web := core.read_namespaced_service("web", "default")).metadata.name, web.spec.ports[0].port))


def rights(core, api):
    auth = client.AuthorizationV1Api(api)
    review = auth.create_self_subject_access_review({"spec": {"resourceAttributes": {"verb": "create", "resource": "pods", "namespace": "default"}}})
    equal("may I?", True, review.status.allowed)
    token = core.create_namespaced_service_account_token("default", "default", {"spec": {"expirationSeconds": 600}}).status.token
    settings = client.Configuration.get_default_copy()
    settings.cert_file = settings.key_file = None
    settings.api_key = {"authorization": "Bearer " + token}
    poor = client.CoreV1Api(client.ApiClient(settings))
    equal("with a token of no rights", 403, refusal(poor.list_namespaced_pod, "default"))
    settings.api_key = {"authorization": "Bearer nonsense"}
    equal("with a token that is none", 401, refusal(poor.list_namespaced_pod, "default"))


def many(core):
    """Twenty threads with one client: its connection pool against the server."""
    wrong = []

    def one(number):
        try:
            for step in range(5):
                core.create_namespaced_config_map("default", {"metadata": {"name": f"many-{number}-{step}"}})
        except ApiException as error:
            wrong.append(str(error))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [each for each in core.list_namespaced_config_map("default").items if each.metadata.name.startswith("many-")]
    equal("many threads", (100, []), (len(made), wrong))


def main():
    config.load_kube_config()
    api = client.ApiClient()
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    equal("version", "v1.35.0", client.VersionApi(api).get_code().git_version)
    typed(core, apps)
    watched(core)
    streams(core)
    copy_in(core)
    dynamic_client(api)
    files(api, core)
    rights(core, api)
    many(core)
    apps.delete_namespaced_deployment("lib", "default", propagation_policy="Foreground")
    for event in watch.Watch().stream(apps.list_namespaced_deployment, "default", label_selector="app=lib", timeout_seconds=30):
        if event["type"] == "DELETED":
            break
    equal("foreground: its pods went before it", [], core.list_namespaced_pod("default", label_selector="app=lib").items)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
