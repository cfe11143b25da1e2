"""Prepared data sets: damaged files, wrong settings and bad rows, each named; nothing is left behind."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from encore_jax.data import FORMATS, Comparison, parse_prompt, read_comparisons, write_comparisons
from encore_jax.data.rated_comparisons import CONFIGS, DatasetConfig, RatedComparisons, prepare
from encore_jax.data.rated_comparisons.config import READER_OPTIONS
from encore_jax.errors import InputError
from tests.data.prepared import FILES, POOL, read_all, whole


def truncate(path: Path):
    os.truncate(path, path.stat().st_size - 1)


DAMAGE = {
    "truncated": truncate,
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "missing": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_named_and_prepared_again(small, tmp_path, damage, caplog):
    builder = prepare(whole(small, pool=POOL), tmp_path / "data")
    (file,) = Path(builder.data_dir).glob("*array_record*")
    DAMAGE[damage](file)
    with pytest.raises(InputError, match="missing|damaged.*delete the folder") as caught:
        RatedComparisons(builder, "train")
    assert caught.value.where == str(file)
    again = prepare(whole(small, pool=POOL), tmp_path / "data")
    assert f"written again, because of {file}" in caplog.text
    assert read_all(again) == {"train": list(read_comparisons(small, pool=POOL))}


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "metadata.json"])
@pytest.mark.parametrize("text", [None, "", "{}", "[1"])
def test_damaged_descriptions_are_named_and_prepared_again(small, tmp_path, name, text):
    builder = prepare(whole(small, pool=POOL), tmp_path / "data")
    path = Path(builder.data_dir, name)
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(InputError) as caught:
        RatedComparisons(builder.data_dir, "train")
    assert caught.value.where.startswith(builder.data_dir)
    again = prepare(whole(small, pool=POOL), tmp_path / "data")
    assert read_all(again) == {"train": list(read_comparisons(small, pool=POOL))}


def test_another_file_of_other_length_is_noticed(small, tmp_path):
    builder = prepare(whole(small, pool=POOL, test_fraction=0.2), tmp_path)
    assert builder.info.splits["train"].num_examples != builder.info.splits["test"].num_examples
    train, test = (next(Path(builder.data_dir).glob(f"*-{split}.*")) for split in ("train", "test"))
    shutil.copy(test, train)
    with pytest.raises(InputError, match="records instead of"):
        RatedComparisons(builder, "train")


def test_a_damaged_record_names_its_file(tmp_path):
    rng = np.random.default_rng(0)
    texts = ["".join(map(chr, rng.integers(33, 126, 4000))) for _ in range(200)]  # does not compress well
    records = [Comparison(parse_prompt(text), ("a", "b"), id=str(i)) for i, text in enumerate(texts)]
    write_comparisons(tmp_path / "a.jsonl", records)
    builder = prepare(whole(tmp_path / "a.jsonl"), tmp_path)
    (file,) = Path(builder.data_dir).glob("*array_record*")
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 255
    file.write_bytes(content)
    data = RatedComparisons(builder, "train")
    damaged = 0
    for i, record in enumerate(records):
        try:
            assert data[i] == record
        except InputError as error:
            assert error.where == str(file) and "damaged record" in error.problem
            damaged += 1
    assert 1 <= damaged < 10


def test_wrong_splits_pools_and_folders(small, tmp_path, pool):
    builder = prepare(whole(small, pool=POOL), tmp_path / "data")
    for split in ("tets", "test", "train[:", "train[:0]"):
        with pytest.raises(InputError, match="use train") as caught:
            RatedComparisons(builder, split)
        assert caught.value.where == builder.data_dir and repr(split) in caught.value.problem
    with pytest.raises(InputError, match="another rule pool: rule_0, rule_1, rule_2.*prepare the data set"):
        RatedComparisons(builder, "train", pool=pool)
    unrated = tmp_path / "unrated.jsonl"
    write_comparisons(unrated, [Comparison(parse_prompt("Hi"), ("a", "b"))])
    with pytest.raises(InputError, match="another rule pool: no rules"):
        RatedComparisons(prepare(whole(unrated), tmp_path), "train", pool=pool)
    with pytest.raises(InputError, match="no prepared data set"):
        RatedComparisons(tmp_path / "nothing", "train")


def test_wrong_settings_name_the_field(fixtures, small, tmp_path, pool):
    for changes, field in [
        ({"name": "My data"}, "name"),
        ({"format": "hh"}, "format"),
        ({"pool": "safety_10"}, "pool"),
        ({"test_fraction": -0.1}, "test_fraction"),
        ({"test_fraction": 0.6, "validation_fraction": 0.6}, "validation_fraction"),
    ]:
        with pytest.raises(InputError, match=f"field '{field}'"):
            DatasetConfig(path=small, **changes)
    with pytest.raises(InputError, match="not a scale"):
        DatasetConfig(path=small, scale=(1, 0))
    for name, changes in [
        ("hh_rlhf", {"pool": pool}),
        ("pku_saferlhf", {"scale": (0, 1)}),
        ("files", {"preference": "safer"}),
    ]:
        path = {"files": small, **{name: fixtures / FILES[name] for name in FORMATS}}[name]
        with pytest.raises(InputError, match=f"field '{next(iter(changes))}'.*take none"):
            prepare(dataclasses.replace(CONFIGS[name], path=path, **changes), tmp_path / "data")
    with pytest.raises(InputError, match="say where the file is"):
        prepare(CONFIGS["hh_rlhf"], tmp_path / "data")
    with pytest.raises(InputError, match="a folder.*small.jsonl"):
        prepare(whole(tmp_path), tmp_path / "data")
    assert not (tmp_path / "data").exists()
    assert set(READER_OPTIONS) == {*FORMATS, "helpsteer2", "ultrafeedback"}


def test_a_bad_row_leaves_nothing_behind(small, tmp_path, caplog):
    lines = small.read_text().splitlines()
    (tmp_path / "bad.jsonl").write_text("\n".join([*lines, '{"prompt": "Hi", "responses": ["a"]}']))
    with pytest.raises(InputError, match="bad.jsonl:21, field 'responses'"):
        prepare(whole(tmp_path / "bad.jsonl", pool=POOL), tmp_path / "data")
    assert [path.name for path in tmp_path.glob("data/rated_comparisons/files-*/*")] == [".lock"]
    same = [{"prompt": "Hi", "chosen": "a", "rejected": "a"}]
    (tmp_path / "same.json").write_text(json.dumps(same))
    with pytest.raises(InputError, match="not one usable row.*identical"):
        prepare(whole(tmp_path / "same.json"), tmp_path / "data")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InputError, match="not one usable row"):
        prepare(whole(tmp_path / "empty.jsonl", format="helpsteer2", pool=POOL, scale=(0, 4)), tmp_path / "data")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="another data_dir"):
        prepare(whole(small, pool=POOL), tmp_path / "file")
