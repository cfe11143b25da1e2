"""TFDS data sets of comparisons: exact round trips, whole or not at all, no TensorFlow, errors that name the file."""

import collections
import dataclasses
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from encore_jax.data import (
    FORMATS,
    RatedResponse,
    SkipCounter,
    parse_prompt,
    prompt_key,
    read_attribute_columns,
    read_comparisons,
    read_ultrafeedback,
)
from encore_jax.data.rated_comparisons import CONFIGS, DatasetConfig, RatedComparisons, prepare
from encore_jax.data.rated_comparisons.source import find_source, grouped
from encore_jax.data.split import is_test
from encore_jax.errors import InputError
from encore_jax.rules.rule import RulePool
from tests.data.prepared import FILES, POOL, read_all, whole

ROOT = Path(__file__).parents[2]


def folders(data_dir: Path) -> list[Path]:
    return sorted(data_dir.glob("rated_comparisons/*-*/1.0.0"))


@pytest.mark.parametrize("format", FORMATS)
def test_any_known_file_is_recognised(fixtures, pool, tmp_path, format, caplog):
    path = fixtures / FILES[format]
    options = {"pool": pool} if format == "encore" else {}
    builder = prepare(whole(path, **options), tmp_path)
    skips = SkipCounter()
    assert read_all(builder) == {"train": list(read_comparisons(path, format, skips=skips, **options))}
    metadata = RatedComparisons(builder, "train").metadata
    assert metadata["source"]["format"] == format
    assert metadata["rows"] == {
        "kept": skips.kept,
        "skipped": skips.skipped,
        "reasons": skips.reasons,
        "first": skips.first,
        "unread": skips.unread,
        "summary": str(skips),
    }
    ours = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert ours == ([f"{path}: {skips}"] if skips.skipped else [])


def test_the_four_published_sets(fixtures, tmp_path):
    for name in ("hh_rlhf", "pku_saferlhf"):
        config = dataclasses.replace(CONFIGS[name], path=fixtures / FILES[name], test_fraction=0)
        expected = list(read_comparisons(config.path, skips=SkipCounter()))
        assert read_all(prepare(config, tmp_path)) == {"train": expected}
    better = dataclasses.replace(config, preference="better")
    assert [c.preferred for c in read_all(prepare(better, tmp_path))["train"]] == [0, 0]

    config = dataclasses.replace(
        CONFIGS["ultrafeedback"], path=fixtures / "ultrafeedback" / "rows.jsonl", test_fraction=0
    )
    (moon,) = RatedComparisons(prepare(config, tmp_path), "train")
    rated = list(read_ultrafeedback(config.path, pool=config.pool, skips=SkipCounter()))
    assert moon.responses == tuple(r.response for r in rated) and moon.preferred is None
    np.testing.assert_array_equal(moon.ratings, [[5, 4, 5, 4], [2, 0, 0, 1]])
    np.testing.assert_array_equal(moon.mask, [r.mask for r in rated])
    assert (moon.source, moon.subset, moon.extra) == ("ultrafeedback", "handmade", {"model": ["a", "b"]})
    assert moon.id == " | ".join(r.id for r in rated)


def test_helpsteer2_responses_are_paired_by_prompt(fixtures, tmp_path):
    rows = (fixtures / "helpsteer2" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    other = json.dumps(json.loads(rows[0]) | {"response": "Nutmeg.", "verbosity": 2})
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join([rows[0], other, *rows[1:]]), encoding="utf-8")
    config = dataclasses.replace(CONFIGS["helpsteer2"], path=path, test_fraction=0)
    (spice,) = data = RatedComparisons(prepare(config, tmp_path), "train", pool=config.pool)
    assert spice.responses == ("Cumin.", "Nutmeg.") and spice.rules == config.pool.names == data.pool.names
    np.testing.assert_array_equal(spice.ratings, [[4, 4, 4, 0, 0], [4, 4, 4, 0, 2]])
    assert data.metadata["rows"] == {
        "kept": 2,
        "skipped": 2,
        "reasons": {"without another response to the prompt": 1, "with a blank response": 1},
        "first": {"without another response to the prompt": "train.jsonl:3", "with a blank response": f"{path}:4"},
        "unread": {},
        "summary": data.metadata["rows"]["summary"],
    }
    skips = SkipCounter()
    list(read_attribute_columns(path, pool=config.pool, scale=(0, 4), skips=skips))
    assert skips.kept == 3  # as responses; the one without a partner then is not


def test_two_rows_with_one_prompt_are_two_comparisons():
    def rated(id, response):
        return RatedResponse(parse_prompt("Hi"), response, ("kind",), [1.0], id=id)

    records = [rated("a#0", "x"), rated("a#1", "y"), rated("b#0", "x"), rated("b#1", "x")]
    skips = SkipCounter()
    skips.kept = 4
    assert [c.id for c in grouped(records, skips, within_row=True)] == ["a#0 | a#1"]
    assert (skips.kept, skips.skipped) == (2, 2)  # two equal responses are no comparison
    assert [len(c.responses) for c in grouped(records, SkipCounter())] == [4]


def test_what_was_written_down(small, tmp_path):
    import hashlib

    config = whole(small, pool=POOL, test_fraction=0.5, seed=7)
    builder = prepare(config, tmp_path / "data")
    metadata = json.loads(Path(builder.data_dir, "metadata.json").read_text())
    assert metadata["source"]["sha256"] == hashlib.sha256(small.read_bytes()).hexdigest()
    assert (metadata["source"]["path"], metadata["source"]["file"]) == (str(small), "small.jsonl")
    assert metadata["pool"]["digest"] == POOL.digest
    assert metadata["split"] == {"seed": 7, "test_fraction": 0.5, "validation_fraction": 0.0}
    assert metadata["comparisons"] == {split: len(records) for split, records in read_all(builder).items()}
    assert builder.info.metadata["source"] == metadata["source"]  # TFDS's own way to it
    assert RatedComparisons(builder, "train").pool == POOL


def test_prompts_stay_in_one_split(small, tmp_path):
    found = read_all(prepare(whole(small, pool=POOL, test_fraction=0.3, validation_fraction=0.3), tmp_path))
    assert len(found) == 3 and sum(map(len, found.values())) == 20
    seen = collections.Counter(key for records in found.values() for key in {prompt_key(r.prompt) for r in records})
    assert set(seen.values()) == {1}
    only = read_all(prepare(whole(small, pool=POOL, test_fraction=1.0), tmp_path))
    assert list(only) == ["test"] and len(only["test"]) == 20


def test_same_settings_are_found_again_and_others_are_not(small, tmp_path):
    data = tmp_path / "data"
    config = whole(small, pool=POOL)
    first = prepare(config, data)
    times = {path: path.stat().st_mtime_ns for path in Path(first.data_dir).iterdir()}
    moved = tmp_path / "elsewhere" / small.name
    moved.parent.mkdir()
    shutil.copy(small, moved)
    again = prepare(dataclasses.replace(config, path=moved, format="encore"), data)
    assert again.data_dir == first.data_dir
    assert {path: path.stat().st_mtime_ns for path in Path(again.data_dir).iterdir()} == times

    other_pool = RulePool(tuple(dataclasses.replace(rule, text="Another text.") for rule in POOL))
    changes = [
        {"pool": other_pool},
        {"scale": (0.0, 2.0)},
        {"test_fraction": 0.5},
        {"validation_fraction": 0.5},
        {"seed": 1},
        {"name": "mine"},
    ]
    names = {prepare(dataclasses.replace(config, **change), data).data_dir for change in changes}
    small.write_text(small.read_text() + "\n")
    names.add(prepare(config, data).data_dir)
    assert len(names | {first.data_dir}) == len(changes) + 2 == len(folders(data))


def test_every_setting_has_a_place_in_the_name(small):
    """A new field of the config cannot be forgotten in the digest."""
    source = find_source(whole(small, pool=POOL))
    values = {"format": "pairs", "preference": "better", "revision": "main", "pool": None, "scale": (0.0, 2.0)}
    values |= {"test_fraction": 0.5, "validation_fraction": 0.5, "seed": 1, "name": "mine"}
    for field in dataclasses.fields(DatasetConfig):
        if field.name != "path":
            changed = dataclasses.replace(source.config, **{field.name: values[field.name]})
            assert dataclasses.replace(source, config=changed).name != source.name


def test_sequence(small, tmp_path, monkeypatch):
    from encore_jax.data.rated_comparisons.builder import Builder

    monkeypatch.setattr(Builder, "EXAMPLES_PER_SHARD", 6)
    builder = prepare(whole(small, pool=POOL), tmp_path)
    expected = list(read_comparisons(small, pool=POOL))
    data = RatedComparisons(builder, "train", pool=POOL)
    assert len(list(data.folder.glob("*array_record*"))) == 4
    assert len(data) == 20 and list(data) == expected
    assert [data[i] for i in (19, 0, -1, -20, np.int64(7))] == [expected[i] for i in (19, 0, -1, -20, 7)]
    assert data[3:18:5] == expected[3:18:5]
    for i in (20, -21):
        with pytest.raises(IndexError, match="of 20"):
            data[i]
    part = RatedComparisons(builder.data_dir, "train[50%:]")
    assert list(part) == expected[10:]
    copy = pickle.loads(pickle.dumps(part))
    assert list(copy) == expected[10:] and repr(copy) == repr(part) and "train[50%:]" in repr(part)
    assert str(tmp_path) not in repr(data)  # loaders compare it when they resume, maybe on another machine
    order = np.random.default_rng(0).integers(0, 20, 200).tolist()
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(data.__getitem__, order)) == [expected[i] for i in order]
    assert list(pickle.loads(pickle.dumps(builder)).info.splits) == ["train"]


def test_grain_shuffles_slices_and_shards(small, tmp_path):
    import cloudpickle
    import grain

    data = RatedComparisons(prepare(whole(small, pool=POOL), tmp_path), "train")
    source = grain.MapDataset.source(data)
    assert len(source) == 20 and source[3] == data[3]
    shuffled = [c.id for c in source.shuffle(seed=1)]
    assert sorted(shuffled) == sorted(c.id for c in data) and shuffled != [c.id for c in data]
    assert [c.id for c in source.shuffle(seed=1)[1::2]] == shuffled[1::2]
    assert [c.id for c in cloudpickle.loads(cloudpickle.dumps(source.shuffle(seed=1)))] == shuffled
    running = iter(source.shuffle(seed=1).repeat(2).to_iter_dataset())
    before = [next(running).id for _ in range(13)]
    state = running.get_state()
    after = [c.id for c in running]
    assert before == shuffled[:13] and len(after) == 27
    resumed = iter(source.shuffle(seed=1).repeat(2).to_iter_dataset())
    resumed.set_state(state)
    assert [c.id for c in resumed] == after


KILLED = """
import os, signal, sys
from encore_jax.data.rated_comparisons import DatasetConfig, prepare
from encore_jax.data.rated_comparisons import builder
from encore_jax.rules.rule import RulePool
calls, to_example = [], builder.to_example
def killing(*args):
    calls.append(1)
    if len(calls) == 11:
        os.kill(os.getpid(), signal.SIGKILL)
    return to_example(*args)
builder.to_example = killing
builder.Builder.EXAMPLES_PER_SHARD = 4
prepare(DatasetConfig(path=sys.argv[1], pool=RulePool.from_yaml(sys.argv[2]), test_fraction=0.0), sys.argv[3])
"""


def test_a_killed_run_is_redone(small, tmp_path):
    POOL.to_yaml(tmp_path / "pool.yaml")
    data = tmp_path / "data"
    command = [sys.executable, "-c", KILLED, str(small), str(tmp_path / "pool.yaml"), str(data)]
    assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
    left = [path for path in data.rglob("*array_record*") if path.is_file()]
    assert left and not folders(data)
    builder = prepare(whole(small, pool=POOL), data)
    assert read_all(builder) == {"train": list(read_comparisons(small, pool=POOL))}
    assert [path for path in data.rglob("*array_record*") if path in left] == []
    assert sorted(path.name for path in Path(builder.data_dir).parent.iterdir()) == [".lock", "1.0.0"]


def test_processes_that_prepare_at_once_wait_for_each_other(small, tmp_path):
    flags = ["--config=files", f"--path={small}", f"--data_dir={tmp_path / 'data'}", f"--pool={tmp_path}/pool.yaml"]
    POOL.to_yaml(tmp_path / "pool.yaml")
    command = [sys.executable, "-W", "error", "-m", "encore_jax.data.rated_comparisons", *flags, "--test_fraction=0.5"]
    running = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    said = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    (folder,) = folders(tmp_path / "data")
    for text in said:
        assert "rules: rule_0, rule_1, rule_2\nsource: 20 rows: 20 kept, 0 skipped\n" in text
        assert f"folder: {folder}" in text
        for split in ("train", "test"):
            assert f"{split}: {len(RatedComparisons(folder, split))} comparisons" in text


def test_the_command_explains_itself(small, tmp_path):
    command = [sys.executable, "-m", "encore_jax.data.rated_comparisons", f"--path={small}", f"--data_dir={tmp_path}"]
    done = subprocess.run([*command, "--scale=1"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "error: --scale: 1 is not a scale. Fix: write --scale=0,4" in done.stderr


def test_revision_and_offline_reach_the_hub(small, tmp_path, monkeypatch):
    from encore_jax.data.rated_comparisons import source

    asked = {}
    monkeypatch.setattr(source, "locate", lambda uri, **options: asked.update(options, uri=uri) or small)
    uri = "hf://datasets/some/set/small.jsonl"
    builder = prepare(whole(uri, revision="v1", pool=POOL), tmp_path, offline=True)
    assert asked == {"uri": uri, "revision": "v1", "offline": True}
    assert RatedComparisons(builder, "train").metadata["source"]["path"] == uri


def test_the_builder_alone_asks_for_a_file(tmp_path):
    from encore_jax.data.rated_comparisons.builder import Builder

    assert set(Builder.builder_configs) == set(CONFIGS) and Builder.name == "rated_comparisons"
    with pytest.raises(InputError, match="names no file"):
        Builder(data_dir=tmp_path, config="hh_rlhf").download_and_prepare(download_dir=tmp_path)


ALONE = """
import pathlib, socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("the network was asked for")
socket.socket.connect = socket.getaddrinfo = refuse
from encore_jax.data.rated_comparisons import DatasetConfig, RatedComparisons, prepare
assert not {"tensorflow_datasets", "grain", "jax"} & set(sys.modules)
path, data = sys.argv[1:]
if path:
    builder = prepare(DatasetConfig(path=path, test_fraction=0.0), data)
else:
    import grain
    (folder,) = pathlib.Path(data).glob("rated_comparisons/*-*/1.0.0")
    comparisons = RatedComparisons(folder, "train")
    assert {c.id for c in grain.MapDataset.source(comparisons).shuffle(seed=0)} == {c.id for c in comparisons}
assert "tensorflow" not in sys.modules and "tensorflow_datasets" in sys.modules
"""


def test_no_tensorflow_no_network_no_noise_and_nothing_elsewhere(fixtures, tmp_path):
    """Even where TensorFlow is installed: a package of that name that refuses to be imported stands for it."""
    (tmp_path / "poison" / "tensorflow").mkdir(parents=True)
    (tmp_path / "poison" / "tensorflow" / "__init__.py").write_text("raise AssertionError('TensorFlow is imported')")
    folders = {name: tmp_path / name for name in ("home", "temporary", "data")}
    for folder in folders.values():
        folder.mkdir()
    settings = {"HOME": str(folders["home"]), "TMPDIR": str(folders["temporary"])}
    settings |= {"PYTHONPATH": os.pathsep.join([str(tmp_path / "poison"), str(ROOT)]), "JAX_PLATFORMS": "cpu"}
    for path in (fixtures / "hh_rlhf" / "derived.jsonl", ""):  # written by one process, read by another
        command = [sys.executable, "-W", "error", "-c", ALONE, str(path), str(folders["data"])]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | settings)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(folders["home"].iterdir()) and not list(folders["temporary"].iterdir())


def test_real_pairs(shared_data, tmp_path):
    path = shared_data / "hh-rlhf" / "pairs.jsonl"
    found = read_all(prepare(dataclasses.replace(CONFIGS["hh_rlhf"], path=path), tmp_path))
    expected = list(read_comparisons(path))
    assert len(expected) == 1782
    held = is_test([prompt_key(c.prompt) for c in expected], 0.1, seed=0)
    for split, chosen in (("train", ~held), ("test", held)):
        assert found[split] == [c for c, mine in zip(expected, chosen, strict=True) if mine]
