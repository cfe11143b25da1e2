"""Rule and RulePool: validation, order, digest, and a YAML form that loses nothing."""

import hashlib
import itertools
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from encore_jax.errors import InputError
from encore_jax.rules import Rule, RulePool

A = Rule("kindness", "The response is kind.", category="tone")
B = Rule("insults", "The response insults: the user # or others.", -1, "tone")
C = Rule("truth", "The response is true.")
POOL = RulePool((A, B, C), "small")

_characters = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")) | st.sampled_from("\n\t")
_texts = st.text(_characters, max_size=200).map(str.strip)
_rules = st.builds(
    Rule,
    name=st.from_regex(r"[a-z][a-z0-9]{0,8}(_[a-z0-9]{1,8}){0,3}", fullmatch=True),
    text=_texts.filter(bool),
    direction=st.sampled_from([1, -1]),
    category=_texts,
)
_pools = st.builds(
    RulePool,
    st.lists(_rules, min_size=1, max_size=6, unique_by=lambda rule: rule.name),
    _texts,
)


def read(tmp_path, text):
    path = tmp_path / "pool.yaml"
    path.write_text(text, encoding="utf-8")
    return RulePool.from_yaml(path)


# Rule


@pytest.mark.parametrize("name", ["a", "no_slurs", "rule_2", "a1_b2"])
def test_snake_case_names_are_accepted(name):
    assert Rule(name, "The response is fine.").name == name


@pytest.mark.parametrize("name", ["", "No", "no-slurs", "no slurs", "_no", "no_", "a__b", "2a", "é", "no\n", 3, None])
def test_other_names_are_refused(name):
    with pytest.raises(InputError, match="field 'name'"):
        Rule(name, "The response is fine.")


def test_the_suggested_name_is_accepted():
    with pytest.raises(InputError) as caught:
        Rule("3. No Slurs!", "The response is fine.")
    assert caught.value.fix == "rename it 'no_slurs'"


@pytest.mark.parametrize("text", ["", "  ", " padded", "padded\n", None, 3, 0.5, b"bytes", "half \ud800", "bell \a"])
def test_a_text_must_be_text(text):
    with pytest.raises(InputError, match="rule 'x', field 'text'"):
        Rule("x", text)


@pytest.mark.parametrize("category", [None, 3, " tone"])
def test_a_category_must_be_text(category):
    with pytest.raises(InputError, match="rule 'x', field 'category'"):
        Rule("x", "It is fine.", category=category)


@pytest.mark.parametrize("direction", [0, 2, -2, 1.0, "1", None, True])
def test_a_direction_is_plus_or_minus_one(direction):
    with pytest.raises(InputError, match="rule 'x', field 'direction'"):
        Rule("x", "It is fine.", direction)


def test_rules_are_values():
    assert replace(A) == A and hash(replace(A)) == hash(A)
    assert len({A, replace(A), replace(A, direction=-1)}) == 2
    with pytest.raises(FrozenInstanceError):
        A.text = "changed"


# RulePool


def test_a_pool_is_a_sequence_of_rules():
    assert len(POOL) == 3 and list(POOL) == [A, B, C]
    assert POOL[1] is B and POOL["insults"] is B and POOL[np.int64(-1)] is C
    assert "truth" in POOL and C in POOL
    assert "lies" not in POOL and replace(C, direction=-1) not in POOL
    assert RulePool([A, B, C], "small") == POOL and hash(RulePool([A, B, C], "small")) == hash(POOL)
    with pytest.raises(IndexError):
        POOL[3]
    with pytest.raises(TypeError):
        POOL[0:2]


def test_names_indices_and_directions_share_one_order():
    assert POOL.names == ("kindness", "insults", "truth")
    assert [POOL.index(name) for name in POOL.names] == [0, 1, 2]
    assert POOL.directions.dtype == np.int8 and POOL.directions.shape == (3,)
    np.testing.assert_array_equal(POOL.directions, [1, -1, 1])


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(InputError, match=r"rule pool 'small': .*'insult'\. Fix: .*insults"):
        POOL["insult"]
    with pytest.raises(InputError, match="use one of kindness, insults, truth"):
        POOL.index("zzzz")


def test_a_subset_keeps_the_given_order():
    assert POOL.subset(["truth", "kindness"]).rules == (C, A)
    assert POOL.subset(name for name in POOL.names).digest == POOL.digest
    with pytest.raises(InputError, match="no rule 'lies'"):
        POOL.subset(["truth", "lies"])
    with pytest.raises(InputError, match="both named 'truth'"):
        POOL.subset(["truth", "truth"])
    with pytest.raises(InputError, match="in an order"):
        POOL.subset("truth")
    with pytest.raises(InputError, match="in an order"):
        POOL.subset({"truth", "kindness"})


def test_bad_pools_are_refused():
    with pytest.raises(InputError, match="at least one rule"):
        RulePool(())
    with pytest.raises(InputError, match="entries 0 and 2 are both named 'kindness'"):
        RulePool((A, B, replace(A, text="Another text.")))
    with pytest.raises(InputError, match="entry 1 is a str"):
        RulePool((A, "insults"))
    with pytest.raises(InputError, match="field 'name'"):
        RulePool((A,), None)


# digest


def test_the_digest_is_the_documented_hash():
    written_by_hand = (
        '[["kindness","The response is kind.",1],'
        '["insults","The response insults: the user # or others.",-1],'
        '["truth","The response is true.",1]]'
    )
    assert POOL.digest == hashlib.sha256(written_by_hand.encode()).hexdigest()


def test_the_digest_tells_orders_apart():
    digests = {RulePool(order).digest for order in itertools.permutations((A, B, C))}
    assert len(digests) == 6


def test_the_digest_covers_name_text_and_direction_only():
    def changed(**fields):
        return RulePool((replace(A, **fields), B, C), "small").digest != POOL.digest

    assert changed(name="goodness") and changed(text="The response is good.")
    assert changed(direction=-1)
    assert not changed(category="")
    assert RulePool((A, B, C), "other").digest == POOL.digest


def test_the_digest_does_not_run_fields_together():
    one, other = RulePool([Rule("ab", "c")]), RulePool([Rule("a", "bc")])
    assert one.digest != other.digest
    two = RulePool([Rule("a", 'b",1],["c","d'), Rule("e", "f")])
    three = RulePool([Rule("a", "b"), Rule("c", "d"), Rule("e", "f")])
    assert two.digest != three.digest


def test_the_digest_is_the_same_in_another_process():
    program = "from encore_jax.rules import RulePool; print(RulePool.shipped('safety_100').digest)"
    environment = dict(os.environ, PYTHONHASHSEED="12345", PYTHONPATH=os.pathsep.join(sys.path))
    told = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == RulePool.shipped("safety_100").digest


# YAML


@settings(deadline=None)
@given(pool=_pools)
def test_yaml_round_trip_loses_nothing(tmp_path_factory, pool):
    path = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    pool.to_yaml(path)
    back = RulePool.from_yaml(path)
    assert back == pool and back.digest == pool.digest


def test_the_file_is_for_people(tmp_path):
    path = tmp_path / "pool.yaml"
    POOL.to_yaml(path)
    text = path.read_text(encoding="utf-8")
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert text.startswith("#") and all(
        any(key in line for line in header) for key in ("name", "category", "direction", "text", "rules")
    )
    assert yaml.safe_load(text) == {
        "name": "small",
        "rules": [
            {"name": "kindness", "category": "tone", "text": A.text},
            {"name": "insults", "category": "tone", "direction": -1, "text": B.text},
            {"name": "truth", "text": C.text},
        ],
    }
    first = yaml.safe_load(text)["rules"][1]
    assert list(first) == ["name", "category", "direction", "text"]


def test_written_files_are_equal_byte_for_byte(tmp_path):
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    POOL.to_yaml(one)
    RulePool.from_yaml(one).to_yaml(other)
    assert one.read_bytes() == other.read_bytes()


def test_block_texts_and_explicit_signs_are_read(tmp_path):
    pool = read(
        tmp_path,
        "rules:\n"
        "  - name: kindness\n"
        "    direction: +1\n"
        "    text: >\n"
        "      The response\n"
        "      is kind.\n"
        "  - {name: insults, text: 'It insults: often.', direction: -1}\n",
    )
    assert pool == RulePool([Rule("kindness", "The response is kind."), Rule("insults", "It insults: often.", -1)])


BAD_FILES = {
    "empty": ("", None, "empty"),
    "not yaml": ("rules:\n- name: [a\n- text: b: c\n", 3, "not valid YAML"),
    "two documents": ("rules: []\n---\nrules: []\n", 2, "not valid YAML"),
    "a list at the top": ("- name: a\n  text: b\n", 1, "the file must be a mapping"),
    "no rules": ("name: pool\n", 1, "lacks 'rules'"),
    "empty rules": ("rules: []\n", None, "'rules' is empty"),
    "rules not a list": ("rules:\n  a: b\n", 2, "holds a mapping"),
    "rules left blank": ("rules:\n", 1, "holds nothing"),
    "a bare text as rule": ("rules:\n- be kind\n", 2, "a rule must be a mapping"),
    "unknown top key": ("rulez: []\n", 1, "unknown key 'rulez'.*did you mean 'rules'"),
    "unknown rule key": (
        "rules:\n- name: a\n  txt: b\n  text: c\n",
        3,
        "unknown key 'txt'.*did you mean 'text'",
    ),
    "weight is no key": ("rules:\n- {name: a, text: b, weight: 2}\n", 2, "use only name, text"),
    "a list as key": ("rules:\n- {[a]: b}\n", 2, "unknown key 'a list'"),
    "merge key": ("rules:\n- &r {name: a, text: b}\n- {<<: *r, name: c}\n", 3, "unknown key '<<'"),
    "key twice": ("rules:\n- name: a\n  text: b\n  text: c\n", 4, "'text' is given twice.*line 3"),
    "missing text": ("rules:\n- name: a\n", 2, "lacks 'text'"),
    "missing both": ("rules:\n- category: a\n", 2, "lacks 'name' and 'text'"),
    "number as text": ("rules:\n- name: a\n  text: 3\n", 3, r"rule 'a', field 'text'.*number"),
    "none as text": ("rules:\n- name: a\n  text:\n", 3, "field 'text'.*not nothing"),
    "tilde as text": ("rules:\n- name: a\n  text: ~\n", 3, "field 'text'.*not nothing"),
    "yes as text": ("rules:\n- name: a\n  text: yes\n", 3, "true/false value"),
    "date as text": ("rules:\n- name: a\n  text: 2020-01-01\n", 3, "not a date"),
    "list as text": ("rules:\n- name: a\n  text: [b]\n", 3, "not a list"),
    "tagged list as text": ("rules:\n- name: a\n  text: !!str [b]\n", 3, "field 'text'"),
    "blank text": ("rules:\n- name: a\n  text: '  '\n", 2, "rule 'a', field 'text': the text is"),
    "number as name": ("rules:\n- name: 3\n  text: b\n", 2, "field 'name'.*number"),
    "bad name": ("rules:\n- {name: a, text: b}\n- {name: B c, text: d}\n", 3, "rename it 'b_c'"),
    "none as category": ("rules:\n- {name: a, text: b, category: }\n", 2, "field 'category'"),
    "number as pool name": ("name: 10\nrules:\n- {name: a, text: b}\n", 1, "field 'name'.*number"),
    "direction zero": ("rules:\n- name: a\n  text: b\n  direction: 0\n", 4, r"\('0'\), not \+1"),
    "direction text": ("rules:\n- name: a\n  text: b\n  direction: '1'\n", 4, "'direction'"),
    "direction float": ("rules:\n- name: a\n  text: b\n  direction: 1.0\n", 4, "'direction'"),
    "direction none": ("rules:\n- name: a\n  text: b\n  direction:\n", 4, "not \\+1 or -1"),
    "same name": (
        "rules:\n- name: a\n  text: b\n- name: a\n  text: c\n",
        4,
        "'a' is already on line 2",
    ),
    "control character": ('rules:\n- name: a\n  text: "b\\ac"\n', 2, "rule 'a', field 'text'"),
    "raw control character": ("rules:\n- name: a\n  text: b\ac\n", None, "not valid YAML"),
    "python tag as rule": ("rules:\n- !!python/object:x.y {name: a, text: b}\n", 2, "a mapping"),
    "python tag as rules": ("rules: !!python/tuple [{name: a, text: b}]\n", 1, "'rules' holds"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_with_its_line(tmp_path, case):
    text, line, message = BAD_FILES[case]
    with pytest.raises(InputError, match=f"(?s){message}") as caught:
        read(tmp_path, text)
    where = caught.value.where
    assert where.startswith(str(tmp_path / "pool.yaml"))
    if line is not None:
        assert where.removeprefix(str(tmp_path / "pool.yaml")).split(",")[0] == f":{line}"
    assert caught.value.fix


def test_no_python_object_is_built(tmp_path):
    mark = tmp_path / "mark"
    call = f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{mark}]]"
    with pytest.raises(InputError, match="field 'text'"):
        read(tmp_path, f"rules:\n- name: a\n  text: {call}\n")
    assert not mark.exists()


def test_a_missing_file_and_other_encodings_are_refused(tmp_path):
    with pytest.raises(InputError, match="absent.yaml: is missing"):
        RulePool.from_yaml(tmp_path / "absent.yaml")
    path = tmp_path / "latin.yaml"
    path.write_bytes("rules: [{name: a, text: caf\xe9}]".encode("latin-1"))
    with pytest.raises(InputError, match="latin.yaml: byte 27 is not UTF-8"):
        RulePool.from_yaml(str(path))


def test_an_unknown_shipped_pool_lists_what_there_is():
    with pytest.raises(InputError, match="openai_rbr_23, pyrit_10, safety_10, safety_100"):
        RulePool.shipped("safety_1000")
    with pytest.raises(InputError, match="no shipped rule pool"):
        RulePool.shipped("../pools/safety_10")


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB + "rules: *i\n", "unknown key 'a'"),
        (BOMB.replace("a: &a", "rules: &a", 1), "unknown key 'b'"),
        ("rules: " + "[" * 20_000 + "]" * 20_000, ":1: is nested more than 16 deep"),
        ("rules: " + "[a, " * 20_000, ":1: is nested more than 16 deep"),
        ("- " * 20_000, "is nested more than 16 deep"),
        ("{a: " * 20_000, "is nested more than 16 deep"),
        ("rules: &r\n- *r\n", "a rule must be a mapping, not a list"),
        ("&r rules: *r\n", "field 'rules' holds"),
        ("rules: *nothing\n", "not valid YAML"),
        ("rules:\n- <<: {name: a, text: b}\n", ":2: a rule has the unknown key '<<'"),
        ("rules:\n- &r {name: a, text: b}\n- *r\n", "'a'"),
        ("rules: !!python/object/apply:os.system ['touch pwned']", "'rules' holds a value tagged tag:yaml.org,2002:py"),
        ("!!python/object:os.stat_result\nrules: []", "the file must be a mapping, not a value tagged"),
        ("rules:\n- !!python/name:os.system {name: a, text: b}", "a rule must be a mapping, not a value tagged"),
        ("rules:\n- {name: a, text: !!python/name:os.system b}", "field 'text' must be text"),
        ("rules:\n- {name: a, text: !!binary aGk=}", "field 'text' must be text"),
        ('rules:\n- {name: a, text: "\\UFFFFFFFF"}', "not valid YAML"),
        ('rules:\n- {name: a, text: "\\ud800"}', "not valid YAML|printed"),
        ('rules:\n- {name: a, text: "a\\0b"}', "field 'text'"),
        ("%YAML 1." + "9" * 5000 + "\n---\nrules: []", "not valid YAML"),
        ("a: b\0", "not valid YAML"),
        ("--- a\n--- b\n", "not valid YAML .*document"),
        ("rules:\n- {name: 5, text: b}", "'name' must be text, not a number"),
        ("rules:\n- {name: [a], text: b}", "'name' must be text, not a list"),
        ("rules:\n- {name: a, text: {b: c}}", "field 'text' must be text, not a mapping"),
        ("rules:\n- {name: a, text: b, direction: 1.0}", "direction"),
        ("rules:\n- {name: a, text: b, direction: [1]}", "direction"),
        ("rules:\n- {? [a] : b}", "unknown key 'a list'"),
        ("rules: {}", "field 'rules' holds a mapping"),
        ("rules: 3", "field 'rules' holds a number"),
        ("rules: []", "the list 'rules' is empty"),
        ("x" * 3_000, "the file must be a mapping"),
        ("x" * 900 + ": y", "unknown key"),
        ("rules:\n- {name: a, text: b, " + "x" * 900 + ": c}", "unknown key"),
        ("#" * 600_000, "is larger than 524,288 bytes"),
    ],
)
def test_yaml_that_is_made_to_hurt_ends_in_one_line(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pool.yaml").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        RulePool.from_yaml(tmp_path / "pool.yaml")
    text = str(caught.value)
    assert text.count("pool.yaml") == 1 and "\n" not in text and len(text) < 600
    assert [path.name for path in tmp_path.iterdir()] == ["pool.yaml"]
