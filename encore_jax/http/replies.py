"""What every HTTP client of this project makes of a server's reply: how long to wait, what it says, how much is read.

Whatever a server sends, these functions return or raise `InputError` or `BadBody`, and nothing else.
"""

from __future__ import annotations

import datetime
import email.utils
import html
import math
import re
import zlib
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from encore_jax.errors import InputError
from encore_jax.json_shape import decode_json
from encore_jax.terminal_text import cut, one_line

LONGEST_WAIT = 600.0
"""No server's wish to wait is followed for longer, in seconds."""

MOST_WORDS = 300
"""Characters of a server's words in a message."""

MOST_RAW = 2000
"""Characters of raw text kept with an answer that could not be read."""

ERROR_BODY = "an error in place of an answer"

_MOST_PARSED = 1 << 16
_MOST_MEMBERS = 16
_SAYS = ("error", "errors", "message", "detail", "msg", "error_description", "title", "reason", "description")
"""Fields that hold a server's words, the more telling first."""

_UNSEEN = re.compile(r"(?is)<(script|style)\b.*?(</\1\s*>|$)|<!--.*?(-->|$)|<[^>]*>?")


class BadBody(ValueError):
    """A body that cannot be used; the message is the same for the same kind."""


def checked_url(url: str, where: str = "url") -> str:
    """An address without its last slash and without /v1, which the path of a request begins with.

    Raises:
      InputError: no http(s) address, or one that may hold a secret (which is not repeated).

    >>> checked_url("http://10.0.0.2:8000/v1/")
    'http://10.0.0.2:8000'
    """
    fix = "write http://HOST:PORT or https://HOST"
    if not isinstance(url, str):
        raise InputError("is no address", where=where, fix=fix)
    try:
        parts = urlsplit(url)
        secret = parts.username or parts.password or parts.query or parts.fragment
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:
        raise InputError("is no address (not repeated here)", where=where, fix=fix) from None
    if secret or "@" in url:
        raise InputError(
            "an address with credentials or a query (not repeated here)",
            where=where,
            fix="leave them out; a key comes from an environment variable",
        )
    if not usable or not url.isprintable() or " " in url:
        raise InputError(f"{cut(url, 80)!r} is no address", where=where, fix=fix)
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def retry_after(value: str | None, now: datetime.datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for, in seconds or as an HTTP date; None where it says nothing usable.

    >>> retry_after("1.5"), retry_after("soon"), retry_after("-3")
    (1.5, None, 0.0)
    >>> noon = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone.utc)
    >>> retry_after("Thu, 01 Jan 2026 12:00:30 GMT", noon)
    30.0
    """
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = email.utils.parsedate_to_datetime(value)
            then = then if then.tzinfo is not None else then.replace(tzinfo=datetime.UTC)
            seconds = (then - (now or datetime.datetime.now(datetime.UTC))).total_seconds()
        except (ValueError, TypeError, OverflowError, IndexError):  # what is no date, and dates beyond all calendars
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT) if math.isfinite(seconds) else None


def wait_asked(headers: Mapping[str, str]) -> float | None:
    """Seconds that a reply asks its client to wait, by any of the headers in use; None where it does not.

    >>> wait_asked({"Retry-After": "2"}), wait_asked({"retry-after-ms": "250", "Retry-After": "1"}), wait_asked({})
    (2.0, 0.25, None)
    """
    named = {str(name).lower(): value for name, value in headers.items()}
    milliseconds = retry_after(named.get("retry-after-ms"))
    return milliseconds / 1000 if milliseconds is not None else retry_after(named.get("retry-after"))


def error_words(body: bytes | str, hide: Callable[[str], str] = str, most: int = MOST_WORDS) -> str:
    """What a server says in a body that holds no answer, on one printable line; "" where it says nothing.

    The message of JSON errors in any of the usual forms, the text of a page, or the body as it is.

    Args:
      body: of a reply; of a long one the beginning.
      hide: takes secrets out of a text.
      most: characters at most.

    >>> error_words('{"error": {"message": "No such model.", "code": 404}}'), error_words('{"error": "Unauthorized"}')
    ('No such model.', 'Unauthorized')
    >>> error_words('{"detail": [{"loc": ["body"], "msg": "Field required"}]}'), error_words("<h1>Bad gateway</h1>")
    ('Field required', 'Bad gateway')
    """
    text = body[:_MOST_PARSED].decode(errors="replace") if isinstance(body, bytes) else body[:_MOST_PARSED]
    text = text.removeprefix("\ufeff")
    try:
        value = decode_json(text, where="reply")
    except InputError:
        said = html.unescape(_UNSEEN.sub(" ", text)) if text.lstrip().startswith("<") else text
    else:
        said = "; ".join(dict.fromkeys(_sayings(value))) or text
    return cut(one_line(hide(said)[: 4 * most]), most)


def _sayings(value: object) -> list[str]:
    """The texts that an error's JSON holds where messages stand, outermost first."""
    if isinstance(value, str):
        return [value] if value.strip() else []
    if isinstance(value, list):
        return [text for inner in value[:8] for text in _sayings(inner)]
    if isinstance(value, dict):
        for field in _SAYS:
            if texts := _sayings(value.get(field)):
                return texts
    return []


def unpacked(body: bytes, encoding: str, most: int) -> bytes:
    """A body as it was before its Content-Encoding; never more than `most` bytes are made of it.

    Raises:
      BadBody: an encoding that is not read here, broken, or more than `most` bytes.

    >>> import gzip
    >>> unpacked(gzip.compress(b"{}"), "gzip", 100), unpacked(b"{}", "", 100)
    (b'{}', b'{}')
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise BadBody("body in an encoding that was not asked for")
    raw_deflate = encoding == "deflate" and not (
        len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
    )
    made = bytearray()
    for _ in range(_MOST_MEMBERS):
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS if raw_deflate else zlib.MAX_WBITS | 32)
        try:
            made += unpacker.decompress(body, most + 1 - len(made))
        except zlib.error:
            raise BadBody("body in a broken encoding") from None
        if len(made) > most:
            raise BadBody(f"body longer than {most:,} bytes")
        if not unpacker.eof:
            raise BadBody("body in a broken encoding")
        body = unpacker.unused_data
        if not body:
            return bytes(made)
    raise BadBody("body in a broken encoding")


def error_in(body: object) -> bool:
    """Whether a reply holds an error in place of an answer, whatever its status says."""
    return isinstance(body, Mapping) and not body.get("choices") and bool(body.get("error") or body.get("errors"))
