"""The manifest of a run on GKE: what the API allows, what kubectl accepts, and the chips that the slice has."""

import http.server
import json
import os
import shutil
import subprocess
import threading

import jsonschema
import pytest
import yaml

from encore_jax.parallel.slices import parse_slice
from tests.tpu_scripts.fake_cloud import CONFIG
from tests.tpu_scripts.jobset_schema import JOBSET

NEEDED = {"NAME": "encore", "ACCELERATOR": "v5e:4x4", "BUCKET": "gs://b/f", "IMAGE": "images/encore:1"}
AWKWARD = """--config.name=it's a "name" with $HOME, `ls`, a\ttab, \\ and: #\nlines"""
GROUP = "jobset.x-k8s.io/v1alpha2"


def manifest(cloud, *arguments, **settings) -> str:
    done = cloud.run("jobset.sh", f"--config={CONFIG}", *arguments, **NEEDED | settings)
    assert done.returncode == 0, done.stderr
    assert not cloud.calls()
    return done.stdout


def checked(text: str) -> dict:
    """The manifest, which the API allows."""
    document = yaml.safe_load(text)
    jsonschema.validate(document, JOBSET)
    return document


ALL = {"SPOT": "1", "QUEUE": "q", "NAMESPACE": "n", "POD_ACCOUNT": "a", "HF_SECRET": "s", "SLICES": "2"}


@pytest.mark.parametrize("settings", [{}, *({name: value} for name, value in ALL.items()), ALL], ids=str)
def test_the_manifest_is_what_the_api_allows(cloud, settings):
    document = checked(manifest(cloud, **settings))
    (replicated,) = document["spec"]["replicatedJobs"]
    assert replicated["replicas"] == int(settings.get("SLICES", 1))
    pod = replicated["template"]["spec"]["template"]["spec"]
    assert ("tolerations" in pod) == ("SPOT" in settings) == ("cloud.google.com/gke-spot" in pod["nodeSelector"])
    assert ("env" in pod["containers"][0]) == ("HF_SECRET" in settings)
    assert document["metadata"]["namespace"] == settings.get("NAMESPACE", "default")


def test_a_field_that_the_api_does_not_know_is_refused(cloud):
    document = checked(manifest(cloud))
    document["spec"]["replicatedJobs"][0]["template"]["spec"]["completion"] = 4
    with pytest.raises(jsonschema.ValidationError, match="completion"):
        jsonschema.validate(document, JOBSET)


@pytest.mark.parametrize("name", ["v5e:1x1", "v5e:2x4", "v5e:8x8", "v6e:4x4", "v5p:2x2x4", "v4-32", "v5litepod-16"])
def test_hosts_and_chips_are_those_of_the_slice(cloud, name):
    tpu = parse_slice(name)
    job = checked(manifest(cloud, ACCELERATOR=name))["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    assert job["completions"] == job["parallelism"] == tpu.hosts
    assert pod["containers"][0]["resources"]["limits"] == {"google.com/tpu": tpu.chips_per_host}
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == tpu.topology


def test_several_slices_are_spelt_as_in_aot(cloud):
    assert manifest(cloud, ACCELERATOR="2xv5e:8x8") == manifest(cloud, ACCELERATOR="v5e:8x8", SLICES="2")


def test_every_word_of_the_command_arrives(cloud):
    job = checked(manifest(cloud, AWKWARD))["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["template"]["spec"]["containers"][0]["command"] == [
        "python", "-m", "experiments.run", f"--config={CONFIG}", AWKWARD, "--multihost=auto", "--workdir=/tmp/work",
        "--checkpoints=gs://b/f/encore/checkpoints",
    ]  # fmt: skip


def test_only_a_preempted_run_starts_again(cloud):
    spec = checked(manifest(cloud))["spec"]
    (rule,) = spec["replicatedJobs"][0]["template"]["spec"]["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob" and rule["onExitCodes"]["operator"] == "NotIn"
    assert rule["onExitCodes"]["values"] == [75, 137, 143]  # saved, killed, told to stop
    assert spec["failurePolicy"]["maxRestarts"] == 50
    assert spec["failurePolicy"]["rules"][0]["onJobFailureReasons"] == ["PodFailurePolicy"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"IMAGE": ""}, "IMAGE is missing"),
        ({"IMAGE": "", "BUCKET": ""}, "BUCKET and IMAGE are missing"),
        ({"SLICES": "0"}, "--slices: not a number from 1 to"),
        ({"SLICES": "3", "ACCELERATOR": "2xv5e:8x8"}, "--slices=3, and --accelerator says 2"),
        ({"RESTARTS": "often"}, "--restarts: not a number"),
        ({"NAME": "a" * 41}, "--name: at most 40 characters"),
        ({"ACCELERATOR": "v5e:3x3"}, "no size of a slice"),
    ],
)
def test_settings_that_make_no_manifest_are_refused(cloud, settings, said):
    done = cloud.run("jobset.sh", f"--config={CONFIG}", **NEEDED | settings)
    assert done.returncode == 2 and said in done.stderr and not done.stdout


class _Cluster(http.server.BaseHTTPRequestHandler):
    """As much of a cluster as kubectl asks before it accepts a manifest: it has JobSets, and none of this name."""

    answers = {
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [
            {"name": "jobset.x-k8s.io", "versions": [{"groupVersion": GROUP, "version": "v1alpha2"}],
             "preferredVersion": {"groupVersion": GROUP, "version": "v1alpha2"}}]},
        f"/apis/{GROUP}": {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP, "resources": [
            {"name": "jobsets", "singularName": "jobset", "namespaced": True, "kind": "JobSet",
             "verbs": ["get", "create", "patch"]}]},
        "/openapi/v3": {"paths": {f"apis/{GROUP}": {"serverRelativeURL": f"/openapi/v3/apis/{GROUP}"}}},
        f"/openapi/v3/apis/{GROUP}": {"openapi": "3.0.0", "info": {"title": "JobSet", "version": "1"}, "paths": {
            f"/apis/{GROUP}/namespaces/{{namespace}}/jobsets/{{name}}": {"patch": {
                "x-kubernetes-group-version-kind": {"group": "jobset.x-k8s.io", "version": "v1alpha2",
                                                    "kind": "JobSet"},
                "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}]}}}},
    }  # fmt: skip

    def do_GET(self):
        answer = self.answers.get(self.path.split("?")[0])
        body = json.dumps(answer or {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}).encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def cluster():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Cluster)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_kubectl_accepts_it(cloud, cluster, tmp_path):
    def apply(text):
        command = ["kubectl", f"--server={cluster}", "apply", "--dry-run=client", "-f", "-"]
        home = os.environ | {"HOME": str(tmp_path), "KUBECONFIG": os.devnull}
        return subprocess.run(command, input=text, env=home, capture_output=True, text=True, timeout=60)

    text = manifest(cloud, AWKWARD, **ALL)
    done = apply(text)
    assert done.returncode == 0 and "jobset.x-k8s.io/encore created (dry run)" in done.stdout, done.stderr
    assert apply(text.replace("kind: JobSet", "kind: JobSett")).returncode == 1
