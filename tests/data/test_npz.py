"""Arrays of other people's files: what NumPy wrote comes back, and what cannot be is refused before it takes memory."""

import io
import zipfile

import numpy as np
import pytest

from encore_jax.data import npz
from encore_jax.data.npz import read_npz
from encore_jax.errors import InputError

ARRAYS = {
    "numbers": np.arange(6, dtype=np.float32).reshape(2, 3), "truth": np.array([True, False]), "one": np.array(3),
    "texts": np.array(["a", "öß"]), "nothing": np.zeros((0, 4)), "empty texts": np.array(["", ""]),
    "columns": np.asfortranarray(np.arange(6).reshape(2, 3)), "big end": np.arange(3, dtype=">i4"),
}  # fmt: skip


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_wrote_comes_back(tmp_path, save):
    save(tmp_path / "x.npz", **ARRAYS)
    found = read_npz(tmp_path / "x.npz")
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype and found[name].flags.writeable


def member(shape: str, dtype: str = "'<f4'", data: bytes = b"", magic: bytes = b"\x93NUMPY\x01\x00") -> bytes:
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return magic + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (member("(1000000000000,)"), "0 bytes for shape"),
        (member("(-1,)"), "for shape"),
        (member("(2,)", data=b"x" * 4), "4 bytes for shape"),
        (member("(1,)", "'|O'", b"x" * 8), "Python objects"),
        (member("(1,)", "[('a', '|O')]", b"x" * 8), "Python objects"),
        (member("(1,)", "'nonsense'"), "no readable"),
        (member("(" * 500 + ")" * 500), "no readable"),
        (member("(1,)", magic=b"\x93NUMPY\x07\x00"), "format"),
        (b"not numpy", "no readable"),
        (b"", "no readable"),
    ],
)
def test_arrays_that_cannot_be_are_refused_by_name(tmp_path, content, message):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(InputError, match=message) as caught:
        read_npz(tmp_path / "x.npz")
    assert "x.npz" in str(caught.value)


def test_a_file_that_expands_to_more_than_it_may_is_not_unpacked(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(1 << 20))
    assert read_npz(tmp_path / "x.npz")["a"].shape == (1 << 20,)
    monkeypatch.setattr(npz, "FREE", 1 << 20)
    with pytest.raises(InputError, match="8 MiB of arrays"):
        read_npz(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", a=np.zeros(1 << 20))  # as large as what is in it
    assert read_npz(tmp_path / "x.npz")["a"].shape == (1 << 20,)


def test_a_damaged_archive_is_refused(tmp_path):
    made = io.BytesIO()
    np.savez(made, a=np.arange(1000))
    for content in (b"", made.getvalue()[:-10], made.getvalue()[:500], made.getvalue().replace(b"\x07", b"\x08")):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"x\.npz"):
            read_npz(tmp_path / "x.npz")
    with pytest.raises(InputError, match="is missing"):
        read_npz(tmp_path / "none.npz")
