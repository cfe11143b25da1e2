"""Damages binary files: any, and those whose header is known."""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import zipfile
import zlib

from tests.fuzz.mutate_json import mutate_json, mutate_text

NUMBERS = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1,
           2**63, 2**64 - 1, 2**64 - 8)  # fmt: skip


def mutate_bytes(content: bytes, rng: random.Random, head: int = 4096) -> bytes:
    """Any binary file, its first `head` bytes and its end more often than the rest."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not data:
            break
        at = rng.choice((rng.randrange(min(head, len(data))), rng.randrange(len(data)),
                         max(0, len(data) - 1 - rng.randrange(min(64, len(data))))))  # fmt: skip
        width = rng.choice((1, 2, 4, 4, 8, 8))
        kind = rng.randrange(12)
        if kind < 4:
            number = rng.choice(NUMBERS) % (1 << (8 * width))
            data[at : at + width] = number.to_bytes(width, rng.choice(("little", "little", "big")))
        elif kind == 4:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 5:
            value = int.from_bytes(data[at : at + width], "little") + rng.choice((-1, 1, 8, -8, 1000))
            data[at : at + width] = (value % (1 << (8 * width))).to_bytes(width, "little")
        elif kind == 6:
            del data[at:]
        elif kind == 7:
            del data[at : at + rng.choice((1, 4, 100))]
        elif kind == 8:
            data[at:at] = data[at : at + rng.choice((1, 8, 200))] * rng.choice((1, 3))
        elif kind == 9:
            data[at : at + rng.choice((8, 64))] = bytes(8)
        elif kind == 10:
            data[at : at + 8] = rng.randbytes(8)
        else:
            data += rng.choice((b"\0" * 100, rng.randbytes(50), bytes(data[:100])))
    return (
        rng.choice((b"", b"\0" * 64, b"PK\3\4" + bytes(data), b"<html></html>")) if rng.random() < 0.03 else bytes(data)
    )


def mutate_safetensors(content: bytes, rng: random.Random) -> bytes:
    """The JSON header, its length, or anything."""
    (size,) = struct.unpack("<Q", content[:8])
    header, data = content[8 : 8 + size], content[8 + size :]
    kind = rng.random()
    if kind < 0.7:
        header = mutate_json(header, rng)
        return struct.pack("<Q", len(header)) + header + data
    if kind < 0.8:
        size = rng.choice((*NUMBERS, size - 1, size + 1, len(content), len(content) - 8, len(content) - 7))
        return struct.pack("<Q", size % 2**64) + header + data
    if kind < 0.9:
        return content[: 8 + size] + rng.choice((data[:-1], data + b"\0", b"", data[: len(data) // 2], data * 2))
    return mutate_bytes(content, rng)


def mutate_gguf(content: bytes, rng: random.Random) -> bytes:
    """Counts, lengths and types stand near the beginning."""
    return mutate_bytes(content, rng, head=rng.choice((32, 400, 8192, len(content))))


def mutate_zip(content: bytes, rng: random.Random) -> bytes:
    """A member, its name, its size as told, or anything."""
    if rng.random() < 0.5:
        return mutate_bytes(content, rng)
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        names = old.namelist()
        chosen = rng.choice(names)
        if rng.random() < 0.05:
            return zip_bomb(chosen, 1600)
        for name in names:
            member = old.read(name)
            if name == chosen:
                kind = rng.randrange(6)
                if kind == 0:
                    continue
                if kind == 1:
                    name = rng.choice(("../x", "/x", name + "x", name.upper(), name + "/"))
                elif kind == 2:
                    member = bytes(rng.choice((1 << 20, 70 << 20)))
                elif kind == 3:
                    member = mutate_text(member, rng)
                else:
                    member = mutate_bytes(member, rng, head=200)
            new.writestr(name, member)
    return made.getvalue()


_ZEROS: list[bytes] = []


def zip_bomb(name: str, mebibytes: int) -> bytes:
    """A zip whose only member unpacks to so many MiB of zeros; its checksum is wrong, which shows at the end only."""
    if not _ZEROS:
        packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
        _ZEROS.append(packer.compress(bytes(16 << 20)) + packer.flush(zlib.Z_FULL_FLUSH))
    packed, text = _ZEROS[0] * (mebibytes // 16) + b"\3\0", name.encode()
    about = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, 0, len(packed), mebibytes << 20, len(text), 0)
    local = b"PK\3\4" + about + text
    central = b"PK\1\2\x14\0" + about + struct.pack("<HHHII", 0, 0, 0, 0, 0) + text
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local) + len(packed), 0)
    return local + packed + central + end


_MEMBER: list[bytes] = []


def bomb(mebibytes: int) -> bytes:
    """Gzip of so many MiB of one letter, without a line's end."""
    if not _MEMBER:
        _MEMBER.append(gzip.compress(b"a" * (16 << 20), 9))
    return _MEMBER[0] * (mebibytes // 16)


def mutate_gzip(content: bytes, rng: random.Random, inner) -> bytes:
    """What is packed, or the packing."""
    plain, kind = gzip.decompress(content), rng.random()
    if kind < 0.5:
        return gzip.compress(inner(plain, rng), 1)
    if kind < 0.6:
        return rng.choice((
            bomb(1600), content + bomb(1600), content + content, content + b"\0" * 8, plain, content[:-5], content[:12],
            gzip.compress(content), zlib.compress(plain), b"\x1f\x8b\x08\0" + plain, gzip.compress(plain) + b"x",
        ))  # fmt: skip
    return mutate_bytes(content, rng, head=20)


def mutate_lines(content: bytes, rng: random.Random) -> bytes:
    """A line of JSON, or the lines as such."""
    lines = content.splitlines(keepends=True)
    kind, at = rng.random(), rng.randrange(len(lines))
    if kind < 0.8:
        lines[at] = mutate_json(lines[at], rng) + b"\n"
    elif kind < 0.9:
        line = lines[at]
        lines[at : at + 1] = rng.choice([
            [], [line, line], [b"\n", line], [line.rstrip(b"\n"), b" ", line], [line.rstrip(b"\n")], [b"\0\n"],
            [b"null\n"], [b"[]\n"], [b"{}\n", line], [line[: len(line) // 2]], [line.replace(b"\n", b"\r")],
            [b"x" * (1 << 20)], [line, b"\xff\n"], [b'"x"\n'], [line.replace(b" ", b"\n")],
        ])  # fmt: skip
    else:
        return mutate_text(content, rng)
    return b"".join(lines)


def mutate_json_rows(content: bytes, rng: random.Random) -> bytes:
    """A file of one JSON list."""
    return mutate_json(content, rng)


def as_json_lines(rows: list) -> bytes:
    """One JSON object per line."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
