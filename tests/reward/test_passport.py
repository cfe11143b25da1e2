"""The passport: nothing lost on disk, and every difference told."""

import dataclasses
import hashlib
import json

import pytest

from encore_jax.errors import InputError
from encore_jax.reward.passport import Passport, model_digest

PASSPORT = Passport(
    model="SmolLM2",
    model_sha256="a" * 64,
    template_sha256="b" * 64,
    bos="chat template",
    pooling="last",
    pad_id=2,
    dtype="float32",
    max_length=512,
    rules=("one", "two"),
    pool_sha256="c" * 64,
    data_revision="d" * 64,
    entropy=(0.1, 1.23456789012345),
    weights=(0.75, 0.25),
)
OTHER = {
    "pad_id": 3, "max_length": 256, "rules": ("two", "one"), "entropy": (), "weights": (0.5, 0.5), "pooling": "hf",
    "dtype": "bfloat16",
}  # fmt: skip
FIELDS = [field.name for field in dataclasses.fields(Passport)]


def changed(name):
    return dataclasses.replace(PASSPORT, **{name: OTHER.get(name, "another")})


def test_it_survives_json():
    back = Passport.from_dict(json.loads(json.dumps(PASSPORT.to_dict())))
    assert back == PASSPORT and isinstance(back.rules, tuple)
    assert back.feature_digest == PASSPORT.feature_digest and hash(back) == hash(PASSPORT)


@pytest.mark.parametrize("name", FIELDS)
def test_every_difference_is_told_by_field_and_values(name):
    other = changed(name)
    (line,) = PASSPORT.differences(other)
    mine, theirs = PASSPORT.to_dict()[name], other.to_dict()[name]
    assert line == f"{name}: {mine!r} != {theirs!r}"
    assert PASSPORT.differences(PASSPORT) == []


@pytest.mark.parametrize("name", FIELDS)
def test_features_depend_on_what_the_text_goes_through_and_on_nothing_else(name):
    matters = name in ("model_sha256", "template_sha256", "bos", "pooling", "dtype", "max_length")
    assert (changed(name).feature_digest != PASSPORT.feature_digest) == matters


def test_an_older_passport_without_weights_is_read():
    later = ("entropy", "weights", "weighting", "loading", "agreement", "agreement_note", "agreement_warning")
    values = {k: v for k, v in PASSPORT.to_dict().items() if k not in later}
    assert Passport.from_dict(values) == dataclasses.replace(PASSPORT, entropy=(), weights=())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pooling": ...}, "passport: it lacks pooling"),
        ({"colour": "red"}, "passport: it has an unknown colour"),
        ({"rules": "one"}, "field 'rules': expected `array`, got `str`"),
        ({"rules": ["one", 2]}, r"field 'rules\[1\]': expected `str`, got `int`"),
        ({"rules": []}, "passport, rules: there are none"),
        ({"rules": ["one", "one"]}, "passport, rules: one is given twice"),
        ({"rules": ["one", ""]}, "passport, rules: .* has no name"),
        ({"pooling": "first"}, "passport, pooling: is 'first'. Fix: use one of last, hf"),
        ({"pooling": ["last"]}, r"passport, pooling: is \['last'\]"),
        ({"dtype": "complex64"}, "passport, dtype: is 'complex64'. Fix: use one of float32, bfloat16"),
        ({"dtype": None}, "field 'dtype'"),
        ({"pad_id": -2}, "passport, pad_id: is -2"),
        ({"pad_id": 2**31}, "passport, pad_id: is 2147483648"),
        ({"pad_id": 2.0}, "field 'pad_id': expected `int`, got `float`"),
        ({"max_length": 0}, "passport, max_length: is 0"),
        ({"max_length": "many"}, "field 'max_length': expected `int`, got `str`"),
        ({"max_length": True}, "field 'max_length'"),
        ({"weights": [0.5]}, "passport, weights: 1 for 2 rules"),
        ({"weights": ["a", "b"]}, r"field 'weights\[0\]': expected `float`, got `str`"),
        ({"weights": [float("nan"), 1]}, "passport, weights of rule 'one': is nan, no number of fp32"),
        ({"weights": [1, 1e39]}, "passport, weights of rule 'two': is 1e.39, no number of fp32"),
        ({"entropy": [1, float("inf")]}, "passport, entropy of rule 'two': is inf, no number"),
        ({"entropy": [1, 2, 3]}, "passport, entropy: 3 for 2 rules"),
        ({"mismatch": [1]}, r"field 'mismatch\[0\]'"),
        ({"model": None}, "field 'model'"),
    ],
)
def test_broken_passports_are_refused_by_field(change, message):
    values = {name: value for name, value in (PASSPORT.to_dict() | change).items() if value is not ...}
    with pytest.raises(InputError, match=message):
        Passport.from_dict(values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "p.json: expected `object`, got `array`"),
        ("[" * 10_000, "p.json: is nested more than"),
        ('{"model": 1', "p.json: is not valid JSON"),
        ("{}", "p.json: it lacks bos"),
        (b"\xff\xfe", "p.json: is not UTF-8"),
        ('{"model": "a", "model": "b"}', "p.json: has the key 'model' twice"),
    ],
)
def test_a_passports_file_of_another_shape_is_refused(content, message):
    with pytest.raises(InputError, match=message):
        Passport.from_json(content, "p.json")


def test_what_was_found_instead_is_what_an_allowed_mismatch_says():
    """What is computed by the passport's fields, such as its type, must be what its record says."""
    found = {"dtype": "bfloat16", "pad_id": 3, "rules": ["two", "one"], "model_sha256": "a" * 64}
    with pytest.raises(
        InputError, match=r"dtype: 'float32' in the passport, 'bfloat16' here; pad_id.*heads.x: not the"
    ):
        PASSPORT.checked(found, "m", changed=("heads.x",))
    allowed = PASSPORT.checked(found, "m", allow=True, changed=("heads.x",))
    assert (allowed.dtype, allowed.pad_id, allowed.rules) == ("bfloat16", 3, ("two", "one"))
    assert [line.partition(":")[0] for line in allowed.mismatch] == ["dtype", "pad_id", "rules", "heads.x"]
    assert PASSPORT.checked({"dtype": "float32"}, "m", allow=True) is PASSPORT


def test_an_earlier_mismatch_is_remembered_over_two_restarts():
    """What was allowed once is said by every later export, whatever is found then."""

    def restarted(passport):
        return Passport.from_dict(json.loads(json.dumps(passport.to_dict())))

    first = PASSPORT.checked({"dtype": "bfloat16"}, "m", allow=True)
    second = restarted(first).checked({"pad_id": 5}, "m", allow=True)
    third = restarted(second).checked({"pad_id": 5, "dtype": "bfloat16"}, "m")  # nothing new: nothing to allow
    fourth = restarted(third).checked({}, "m", allow=True, changed=("heads.x",))
    said = [[line.partition(":")[0] for line in p.mismatch] for p in (first, second, third, fourth)]
    assert said == [["dtype"], ["dtype", "pad_id"], ["dtype", "pad_id"], ["dtype", "pad_id", "heads.x"]]
    assert fourth.mismatch[:2] == second.mismatch and (fourth.dtype, fourth.pad_id) == ("bfloat16", 5)
    with pytest.raises(InputError, match="dtype: 'bfloat16' in the passport, 'float32' here"):
        fourth.checked({"dtype": "float32"}, "m")


@pytest.mark.parametrize(("field", "least", "most"), [("pad_id", -1, 2**31 - 1), ("max_length", 1, 2**31 - 1)])
def test_numbers_at_their_limits_are_allowed(field, least, most):
    for value in (least, most):
        dataclasses.replace(PASSPORT, **{field: value}).check("p")
    for value in (least - 1, most + 1):
        with pytest.raises(InputError, match=f"p, {field}: is {value}; it must be at least {least}"):
            dataclasses.replace(PASSPORT, **{field: value}).check("p")


def test_the_largest_numbers_of_fp32_are_numbers():
    largest = 3.4028234663852886e38
    dataclasses.replace(PASSPORT, weights=(-largest, largest)).check("p")
    with pytest.raises(InputError, match="weights of rule 'one': is -3.40282347e.38, no number of fp32"):
        dataclasses.replace(PASSPORT, weights=(-3.40282347e38, 0.0)).check("p")


def test_a_models_digest_is_of_the_files_that_its_scores_depend_on(tmp_path):
    """Names and contents, in order of names; a passport, a hub's papers and other files beside them are not read."""
    content = {"b.safetensors": b"1", "config.json": b"2", "chat_template.jinja": b"3", "a.model": b"4"}
    for name, text in (content | {"passport.json": b"x", "notes.txt": b"y", "model.gguf": b"z"}).items():
        (tmp_path / name).write_bytes(text)
    lines = [f"{name}:{hashlib.sha256(content[name]).hexdigest()}" for name in sorted(content)]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert model_digest(tmp_path) == digest
    (tmp_path / "passport.json").write_bytes(b"other")
    assert model_digest(tmp_path) == digest
    for name in content:
        (tmp_path / name).write_bytes(b"other")
        assert model_digest(tmp_path) != digest
        (tmp_path / name).write_bytes(content[name])
    one = tmp_path / "model.gguf"
    assert model_digest(one) == hashlib.sha256(f"model.gguf:{hashlib.sha256(b'z').hexdigest()}".encode()).hexdigest()
