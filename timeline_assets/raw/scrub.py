"""Secrets never reach anything durable: every record is scrubbed before its first write.

By key (:func:`is_secret_key`), wherever it stands, also in JSON, Python's notation or prose within a value; and by
value (tokens, private keys, passwords in URLs), whatever its key. What is taken out is replaced by `MARK`, so that a
reader sees that something was there. Two kinds of text that neither PostgreSQL nor Arrow can hold are replaced, too:
NUL by ``␀``, half a surrogate pair by ``\ufffd``.

A record's canonical form is compact JSON with sorted keys; its SHA-256 says whether it has changed.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MARK = "<scrubbed>"
NUL_MARK = "\u2400"

#: A key is secret where one of these stands in it, in lower case and without separators …
_SECRET_PARTS = (
    "token",
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "credential",
    "awscreds",
    "privatekey",
    "accesskey",
    "apikey",
    "authkey",
    "signingkey",
    "encryptionkey",
    "connectioninfo",
    "connectiondata",
    "providerauth",
    "authorization",
    "cookie",
    "userdata",
    "injectedfiles",
    "databaseconnection",
    "transporturl",
)
#: … or where it is one of these as a whole (`blob` holds Keystone's EC2 credentials, `psk` the key of a VPN), or ends
#: in `pass` as a word of its own (adminPass, rabbit_pass; not bypass).
_SECRET_WORDS = frozenset({"pass", "pwd", "psk", "otp", "totp", "blob"})
#: What merely speaks about a secret ends in one of these words: when it expires, of what kind it is, where it lies.
_HARMLESS_ENDS = frozenset(
    (
        *(
            "at",
            "in",
            "expires",
            "expiry",
            "expiration",
            "ttl",
            "seconds",
            "count",
            "length",
            "type",
            "status",
            "state",
        ),
        *("enabled", "required", "policy", "ref", "href"),
    )
)
_SEPARATORS = str.maketrans("", "", " _.:-")
_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+")

#: Where none of these stands in a text (lower case, without separators), there is nothing to take out of it.
_HINTS = (
    *("pass", "pwd", "psk", "otp", "blob", "cred"),
    *(part for part in _SECRET_PARTS if not part.startswith(("pass", "cred"))),
    *("gaaaaa", "eyj", "bearer", "basic", "@", "begin", "\x00", "u0000"),
)

_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_FERNET = re.compile(r"gAAAAA[\w-]{16,}(?:={1,2}|(?:%3[Dd]){1,2})?", re.ASCII)
#: From the first `eyJ` of a run of its characters: as good as from any later one, and no run is read twice.
_JWT = re.compile(r"(?<![\w-])(?>([\w-]*?)eyJ)[\w-]{6,}+\.[\w-]{4,}+\.[\w-]*+", re.ASCII)
_IN_URL = re.compile(r"://[^\s/?#\"':]*+:[^\s/?#\"']*@")
_BEARER = re.compile(r"(\b(?:bearer|basic)\s++)[\w.~+/-]{20,}+=*+", re.ASCII | re.IGNORECASE)
#: `key: value` and `key=value` as they stand in prose, headers, query strings, JSON and Python's notation: the key up
#: to where a value begins, and the value. Apart, because only a secret's value may be read to its end: that of any
#: other key may hold the next pair, and in a chain of pairs all that follow.
_KEY = re.compile(
    r"""(?<![\w.:-])(?P<key>[A-Za-z_][\w.:-]{0,80})\\?["']?\s*(?:=>|[=:])\s*+(?=[^\s,;&\\(){}\[\]]|\\")""",
    re.ASCII,
)
_VALUE = re.compile(
    r"""(?:bearer|basic)\s+[^\s"',;&]+|\\"(?:(?!\\").)*+(?:\\"|\Z)|"(?:[^"\\]|\\.)*+(?:"|\\?\Z)"""
    r"""|'(?:[^'\\]|\\.)*+(?:'|\\?\Z)|[^\s,;&"'\\(){}\[\]]+""",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_NOTHING = frozenset({"none", "null", "true", "false", '""', "''", '\\"\\"'})

_NESTED_DEPTH, _NESTED_CHARACTERS = 5, 1_000_000


def scrub(body: Any) -> Any:
    """A copy of a JSON value without secrets, NUL characters and half surrogates; the input is left as it is."""
    return _scrub(body, _HINTS, 0)


def to_json(body: Any) -> str:
    """The canonical JSON text of a scrubbed body: sorted keys, compact, nothing escaped without need.

    Raises:
        ValueError: it is no JSON: NaN, an infinity, a value of another type, or nested too deeply.
    """
    try:
        text = _dump(body)
        # the values need to be searched only for what stands somewhere in the whole: mostly nothing, else one or two
        hints = _hints(text, _HINTS)
        if "u0000" in hints:
            hints += ("\x00",)  # JSON writes it escaped, the value has it as it is
        return _dump(_scrub(body, hints, 0)) if hints or not _is_storable(text) else text
    except TypeError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def scrub_text(text: str) -> str:
    """A text without secrets, NUL characters and half surrogates: an error's message, an answer that is no JSON."""
    return _scrub_text(text, _HINTS, 0)


def sha256(text: str) -> str:
    """The hash of a canonical text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=20_000)
def is_secret_key(key: str) -> bool:
    """Whether what stands under this key must not be kept."""
    bare = key.lower().translate(_SEPARATORS)
    words = _WORD.findall(key)
    last = words[-1].lower() if words else ""
    if bare in _SECRET_WORDS or last == "pass":
        return True
    if not any(part in bare for part in _SECRET_PARTS):
        return False
    # an id of a secret is none, but for tokens: Keystone's old token_id is the token itself
    return not (last in _HARMLESS_ENDS or (last in ("id", "uuid") and "token" not in bare))


_dump = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def _hints(text: str, among: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the hints that stand in the text; without one there is no secret in it."""
    bare = text.lower().translate(_SEPARATORS)
    return tuple([hint for hint in among if hint in bare])


def _is_storable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _scrub(value: Any, hints: tuple[str, ...], depth: int) -> Any:
    if isinstance(value, str):
        return _scrub_text(value, hints, depth)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict) or isinstance(value, Mapping):  # noqa: SIM101 - the first is the fast way
        scrubbed = {}
        for key, item in value.items():
            written, is_secret = _key(key) if isinstance(key, str) else (key, False)
            scrubbed[written] = MARK if is_secret and _says_something(item) else _scrub(item, hints, depth)
        return scrubbed
    if isinstance(value, list | tuple):
        return [_scrub(item, hints, depth) for item in value]
    return value


@lru_cache(maxsize=20_000)
def _key(key: str) -> tuple[str, bool]:
    return _scrub_text(key, _HINTS, 0), is_secret_key(key)


def _says_something(value: Any) -> bool:
    """Nothing, yes and no are no secrets; that there is none may matter."""
    return not (value is None or isinstance(value, bool) or value in ("", [], {}))


def _scrub_text(text: str, hints: tuple[str, ...], depth: int) -> str:
    bare = text.lower().translate(_SEPARATORS)
    for hint in hints:
        if hint in bare:
            break
    else:
        if _is_storable(text):
            return text
    text = text.replace("\x00", NUL_MARK)
    if not _is_storable(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if text[:1] in ("{", "[") and depth < _NESTED_DEPTH and len(text) < _NESTED_CHARACTERS:
        text = _scrub_nested(text, depth)
    while (replaced := _replace(text)) != text:
        text = replaced
    return text


def _scrub_nested(text: str, depth: int) -> str:
    """JSON or Python's notation within a text; written anew only if there was a secret in it."""
    for read, write in ((json.loads, _dump), (ast.literal_eval, repr)):
        try:
            value = read(text)
            scrubbed = _scrub(value, _HINTS, depth + 1)
            return text if scrubbed == value else write(scrubbed)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def _replace(text: str) -> str:
    text = _PEM.sub(MARK, text)
    text = _FERNET.sub(MARK, text)
    if "eyJ" in text:
        text = _JWT.sub(rf"\1{MARK}", text)
    text = _IN_URL.sub(f"://{MARK}@", text)
    text = _BEARER.sub(rf"\g<1>{MARK}", text)
    return _replace_pairs(text)


def _replace_pairs(text: str) -> str:
    parts, done, place = [], 0, 0
    while found := _KEY.search(text, place):
        place = found.end()
        if not is_secret_key(found["key"]):
            continue
        match = _VALUE.match(text, place)
        value = match[0]
        if value.lower() in _NOTHING:
            continue
        quote = next((mark for mark in ('\\"', '"', "'") if value.startswith(mark)), "")
        parts += [text[done:place], quote, MARK, quote]
        done = place = match.end()
    return "".join([*parts, text[done:]]) if parts else text
