"""Pinned wheels: verified, whole or absent, with a fix for everything that can go wrong."""

import concurrent.futures
import functools
import hashlib
import os
import struct
import zipfile
import zlib

import pytest

from encore_jax.data import locate, member, wheel, wheels
from encore_jax.errors import InputError
from tests.fuzz.mutate_bytes import zip_bomb

FILE = "tiny_data-1.0-py3-none-any.whl"
CONTENT = bytes(range(256)) * 5000


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A real wheel with one data member, in a folder of its own."""
    path = tmp_path_factory.mktemp("index") / FILE
    info = "tiny_data-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny_data/table.bin", CONTENT)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-data\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def sha256(tiny):
    return hashlib.sha256(tiny.read_bytes()).hexdigest()


@pytest.fixture
def pip_finds(monkeypatch, tiny):
    """pip knows the tiny wheel's folder and nothing else."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tiny.parent))


@pytest.fixture
def no_pip(monkeypatch):
    """Any use of pip fails the test."""
    monkeypatch.setattr(wheels.subprocess, "run", lambda *_, **__: pytest.fail("pip was run"))


def put(cache, content: bytes, name=FILE):
    path = cache / "wheels" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_fetched_once_and_then_found(tmp_path, tiny, sha256, pip_finds, monkeypatch):
    path = wheel("tiny-data", "1.0", sha256, cache=tmp_path)
    assert path == tmp_path / "wheels" / FILE and path.read_bytes() == tiny.read_bytes()
    assert list(path.parent.iterdir()) == [path]
    monkeypatch.setattr(wheels.subprocess, "run", lambda *_, **__: pytest.fail("fetched again"))
    assert wheel("Tiny_Data", "1.0", sha256, cache=tmp_path) == path


def test_a_file_put_there_by_hand_is_found(tmp_path, tiny, sha256, no_pip):
    path = put(tmp_path, tiny.read_bytes())
    put(tmp_path, b"other", "tiny_data-1.0.1-py3-none-any.whl")
    put(tmp_path, b"other", "tiny_data-1.0-cp311-none-any.whl")
    put(tmp_path, b"other", "tiny_data_extra-1.0-py3-none-any.whl")
    assert wheel("tiny-data", "1.0", sha256, cache=tmp_path, offline=True) == path


def test_wrong_hash_from_the_index_leaves_no_file(tmp_path, pip_finds):
    with pytest.raises(InputError, match="instead of 000") as caught:
        wheel("tiny-data", "1.0", "0" * 64, cache=tmp_path)
    assert str(tmp_path / "wheels") in caught.value.fix
    assert list((tmp_path / "wheels").iterdir()) == []


def test_truncated_file_in_the_cache(tmp_path, tiny, sha256, no_pip):
    whole = tiny.read_bytes()
    path = put(tmp_path, whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged") as caught:
        wheel("tiny-data", "1.0", sha256, cache=tmp_path)
    assert caught.value.where == str(path) and "delete it" in caught.value.fix


def test_no_network(tmp_path, sha256, pip_finds, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # the discard port: nothing listens
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(InputError, match="pip could not fetch it: ERROR") as caught:
        wheel("tiny-data", "1.0", sha256, cache=tmp_path)
    assert str(tmp_path / "wheels") in caught.value.fix and "tiny_data-1.0-*.whl" in caught.value.fix


def test_unknown_version(tmp_path, sha256, pip_finds):
    with pytest.raises(InputError, match="No matching distribution|Could not find"):
        wheel("tiny-data", "2.0", sha256, cache=tmp_path)


def test_offline_and_without_pip(tmp_path, sha256, monkeypatch, no_pip):
    with pytest.raises(InputError, match="not in the cache"):
        wheel("tiny-data", "1.0", sha256, cache=tmp_path, offline=True)
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="no pip") as caught:
        wheel("tiny-data", "1.0", sha256, cache=tmp_path)
    assert "ensurepip" in caught.value.fix and str(tmp_path / "wheels") in caught.value.fix


def test_concurrent_callers_all_get_the_whole_file(tmp_path, sha256, pip_finds):
    def fetch(_):
        return member(wheel("tiny-data", "1.0", sha256, cache=tmp_path), "tiny_data/table.bin", cache=tmp_path)

    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        paths = set(threads.map(fetch, range(3)))
    assert len(paths) == 1 and paths.pop().read_bytes() == CONTENT
    left = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["table.bin", FILE]


def test_member_is_extracted_once_and_mended(tmp_path, tiny, sha256):
    path = member(tiny, "tiny_data/table.bin", cache=tmp_path)
    assert path == tmp_path / "members" / sha256[:16] / "tiny_data" / "table.bin"
    assert path.read_bytes() == CONTENT
    before = path.stat().st_mtime_ns
    assert member(tiny, "tiny_data/table.bin", cache=tmp_path).stat().st_mtime_ns == before
    for damaged in (CONTENT[:-1], CONTENT[:-1] + b"x"):
        path.write_bytes(damaged)
        assert member(tiny, "tiny_data/table.bin", cache=tmp_path).read_bytes() == CONTENT


def test_bad_members(tmp_path, tiny):
    with pytest.raises(InputError, match="no member 'tiny_data/none'"):
        member(tiny, "tiny_data/none", cache=tmp_path)
    with pytest.raises(InputError, match="no such wheel"):
        member(tmp_path / "none.whl", "a", cache=tmp_path)
    evil = tmp_path / "evil.whl"
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("../../escaped", b"x")
    with pytest.raises(InputError, match="evil.whl: member '../../escaped' is no plain file"):
        member(evil, "../../escaped", cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_damaged_wheels_leave_no_member(tmp_path, tiny):
    whole = tiny.read_bytes()
    flipped = bytearray(whole)
    flipped[200] ^= 0xFF  # inside the compressed member
    for content in (whole[:-40], b"", bytes(flipped)):
        path = tmp_path / "damaged.whl"
        path.write_bytes(content)
        with pytest.raises(InputError, match="damaged wheel"):
            member(path, "tiny_data/table.bin", cache=tmp_path / "cache")
        assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_wheel_uris(tmp_path, tiny, sha256, no_pip):
    path = put(tmp_path, tiny.read_bytes())
    uri = f"wheel://tiny-data==1.0?sha256={sha256}"
    assert locate(uri, cache=tmp_path) == path
    inside = locate(uri.replace("?", "/tiny_data/table.bin?"), cache=tmp_path)
    assert inside.read_bytes() == CONTENT
    with pytest.raises(InputError, match="write wheel://"):
        locate("wheel://tiny-data==1.0", cache=tmp_path)


def forged(content: bytes, like: bytes) -> bytes:
    """Bytes of the same length and CRC-32 as `like`, that begin with `content`."""
    table = [functools.reduce(lambda c, _: (c >> 1) ^ 0xEDB88320 if c & 1 else c >> 1, range(8), i) for i in range(256)]
    backwards = {entry >> 24: i for i, entry in enumerate(table)}
    start = (content * (len(like) // len(content) + 1))[: len(like) - 4]
    state = zlib.crc32(like) ^ 0xFFFFFFFF
    for _ in range(4):
        last = backwards[state >> 24]
        state = ((state ^ table[last]) << 8) & 0xFFFFFFFF | last
    return start + struct.pack("<I", state ^ zlib.crc32(start) ^ 0xFFFFFFFF)


def test_a_cached_member_of_the_same_size_and_crc_is_found_out(tmp_path, tiny):
    path = member(tiny, "tiny_data/table.bin", cache=tmp_path)
    poisoned = forged(b"poisoned ", CONTENT)
    assert len(poisoned) == len(CONTENT) and zlib.crc32(poisoned) == zlib.crc32(CONTENT) and poisoned != CONTENT
    path.write_bytes(poisoned)
    assert member(tiny, "tiny_data/table.bin", cache=tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("-rhttp://evil/r.txt", "1.0"),
        ("--index-url=http://evil", "1.0"),
        ("-r", "1.0"),
        ("", "1.0"),
        ("../tiny", "1.0"),
        ("tiny data", "1.0"),
        ("tiny\n--pre", "1.0"),
        ("tïny", "1.0"),
        ("tiny_", "1.0"),
        ("x" * 101, "1.0"),
        ("tiny", ""),
        ("tiny", "-1"),
        ("tiny", "1.0 --pre"),
        ("tiny", "1.0.zip"),
        ("tiny", "*"),
        ("tiny", "1.0,<2"),
        ("tiny", "1.0 @ http://evil"),
        ("tiny", "1.0;x"),
        ("tiny", "١"),
    ],
)
def test_what_is_no_name_or_version_never_reaches_pip(name, version, tmp_path, no_pip):
    with pytest.raises(InputError, match="is no (name|version) of a package"):
        wheel(name, version, "0" * 64, cache=tmp_path)
    with pytest.raises(InputError):
        locate(f"wheel://{name}=={version}?sha256={'0' * 64}", cache=tmp_path)
    assert not (tmp_path / "wheels").exists()


@pytest.mark.parametrize("version", ["0.1.2", "1!2.0", "1.0rc1", "1.0.post1", "2.0.dev3", "1.0+cpu.1", "2024"])
def test_versions_in_their_normal_form_are_looked_for(version, tmp_path):
    with pytest.raises(InputError, match="not in the cache"):
        wheel("tiny-data", version, "0" * 64, cache=tmp_path, offline=True)


def test_a_folder_called_pip_in_the_current_folder_is_not_run(tmp_path, sha256, pip_finds, monkeypatch):
    """`python -m pip` would; the current folder may be that of a downloaded model."""
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").write_text("")
    (tmp_path / "pip" / "__main__.py").write_text("open('pwned', 'w').close()")
    monkeypatch.chdir(tmp_path)
    assert wheel("tiny-data", "1.0", sha256, cache=tmp_path / "cache").name == FILE
    assert not (tmp_path / "pwned").exists()


def test_a_file_of_gigabytes_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(wheels, "file_sha256", None)
    hole, padded = tmp_path / "hole-1.0-py3-none-any.whl", tmp_path / "padded-1.0-py3-none-any.whl"
    for path in (hole, padded):
        with path.open("wb") as file:
            file.truncate(5 << 30)
    with padded.open("ab") as file:
        file.write(zip_bomb("data/rows.csv", 1))
    for path, said in ((hole, "no zip file"), (padded, "5,120 MiB")):
        with pytest.raises(InputError, match=said):
            member(path, "data/rows.csv", cache=tmp_path)


def test_a_member_that_unpacks_to_far_more_than_the_wheel_is_refused(tmp_path):
    path = tmp_path / "tiny_data-1.0-py3-none-any.whl"
    path.write_bytes(zip_bomb("data/rows.csv", 1600))
    with pytest.raises(InputError, match="expands to 1,600 MiB"):
        member(path, "data/rows.csv", cache=tmp_path)
    assert not list(tmp_path.glob("members/*/data/*"))
