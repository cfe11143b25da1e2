"""The first lines of an HTTP/1.1 request, read strictly: what two readers may understand in two ways is refused.

h11 joins folded lines, merges repeated lengths and lets Transfer-Encoding win over Content-Length. Behind a proxy that
does otherwise, one request's end is then another's beginning (request smuggling).
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_BYTES = 16 << 10
"""Longest head that is read."""

MAX_LINES = 128
"""Most header lines in a head."""

_END = re.compile(rb"\n\r?\n")
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(_TOKEN + rb" [\x21-\x7e]+ HTTP/(\d\.\d)")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_LENGTH = re.compile(rb"[0-9]{1,18}")


class Fault(NamedTuple):
    """Why a head is refused: the status of the response, what is wrong and where."""

    status: int
    problem: str
    where: str


def head_length(received: bytes | bytearray, start: int = 0) -> int:
    """Bytes of the head, its blank line included; 0 while there is no blank line.

    Args:
      received: what has come so far.
      start: no blank line ends before it.

    >>> head_length(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n{}"), head_length(b"GET / HTTP/1.1\\r\\n")
    (27, 0)
    """
    match = _END.search(received, max(0, start - 3))
    return match.end() if match else 0


def check_head(head: bytes) -> Fault | None:
    """What is wrong with a whole head; None if nothing is.

    >>> check_head(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    >>> check_head(b"GET / HTTP/1.1\\r\\nHost: x\\r\\nHost: y\\r\\n\\r\\n")
    Fault(status=400, problem='is given twice', where='Host')
    """
    if re.search(rb"(?<!\r)\n|\r(?!\n)", head):
        return Fault(400, "a line does not end in CR LF", "head")
    first, *lines = head.split(b"\r\n")[:-2]
    request = _REQUEST_LINE.fullmatch(first)
    if not request:
        return Fault(400, "this is no request line", "head")
    if request[1] not in (b"1.0", b"1.1"):
        return Fault(505, "only HTTP/1.1 and HTTP/1.0 are spoken here", "head")
    if len(lines) > MAX_LINES:
        return Fault(431, f"more than {MAX_LINES} header lines", "head")
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            return Fault(400, "a header line is folded", "head")
        field = _FIELD.fullmatch(line)
        if not field:
            return Fault(400, "a header line is malformed", "head")
        fields.setdefault(field[1].lower(), []).append(field[2].rstrip(b" \t"))
    return _check_fields(fields, request[1])


def _check_fields(fields: dict[bytes, list[bytes]], version: bytes) -> Fault | None:
    lengths, codings = fields.get(b"content-length", []), fields.get(b"transfer-encoding", [])
    hosts, expects = fields.get(b"host", []), fields.get(b"expect", [])
    if lengths and codings:
        return Fault(400, "the length is given in two ways", "Content-Length and Transfer-Encoding")
    if len(lengths) > 1:
        return Fault(400, "is given twice", "Content-Length")
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        return Fault(400, "is no length", "Content-Length")
    if codings and version == b"1.0":
        return Fault(400, "HTTP/1.0 has none", "Transfer-Encoding")
    if codings and [coding.lower() for coding in codings] != [b"chunked"]:
        return Fault(501, "only chunked is understood", "Transfer-Encoding")
    if len(hosts) > 1 or (not hosts and version == b"1.1"):
        return Fault(400, "is given twice" if hosts else "is missing", "Host")
    if [expect.lower() for expect in expects] not in ([], [b"100-continue"]):
        return Fault(417, "only 100-continue is understood", "Expect")
    return None
