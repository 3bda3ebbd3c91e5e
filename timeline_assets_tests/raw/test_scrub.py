"""No secret survives, at any depth, in any notation; what is no secret stays as it was sent."""

from __future__ import annotations

import copy
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeline_assets.raw.scrub import MARK, NUL_MARK, is_secret_key, scrub, scrub_text, sha256, to_json

FERNET = "gAAAAABrAqE0LPdcBX5sEaJ9AVBqOP044hzNd70Z86fgE-7CXh6oIcP_Qw1x3m=="
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
SECRET = "s3cr3t-Value"

SECRET_KEYS = [
    "auth_token",
    "_context_auth_token_info",
    "X-Auth-Token",
    "X-Subject-Token",
    "token",
    "token_id",
    "password",
    "adminPass",
    "admin_pass",
    "rabbit_pass",
    "pass",
    "original_password",
    "partial_password_hash",
    "OS-EXT-SRV-ATTR:user_data",
    "user_data",
    "userData",
    "connection_info",
    "provider_auth",
    "auth_password",
    "client_secret",
    "secret",
    "private_key",
    "privateKey",
    "credentials",
    "_context_aws_creds",
    "blob",
    "psk",
    "api_key",
    "access_key",
    "Authorization",
    "Set-Cookie",
    "injected_files",
    "_obj_transport_url",
    "_obj_database_connection",
]
HARMLESS_KEYS = [
    "id",
    "token_expires_at",
    "password_expires_at",
    "token_type",
    "token_count",
    "expires_in",
    "access_token_ttl",
    "password_expiry",
    "secret_ref",
    "secret_type",
    "encryption_key_id",
    "credential_id",
    "key_name",
    "keypairs",
    "routing_key",
    "key",
    "dns_assignment",
    "role_assignments",
    "bypass",
    "compass",
    "passthrough_whitelist",
    "auth_url",
    "author",
    "os_hash_value",
    "connector",
    "user_id",
    "metadata",
    "security_groups",
]


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_secret_key_hides_whatever_stands_under_it(key):
    assert is_secret_key(key)
    assert scrub({key: SECRET}) == {key: MARK}
    assert scrub({key: {"a": [SECRET]}}) == {key: MARK}
    assert scrub({"deep": [{"er": {key: 4711}}]}) == {"deep": [{"er": {key: MARK}}]}


@pytest.mark.parametrize("key", HARMLESS_KEYS)
def test_a_harmless_key_keeps_its_value(key):
    assert scrub({key: "value"}) == {key: "value"}


@pytest.mark.parametrize("nothing", [None, True, False, "", [], {}])
def test_that_there_is_no_secret_is_kept(nothing):
    assert scrub({"auth_token": nothing}) == {"auth_token": nothing}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"validating {FERNET} failed", f"validating {MARK} failed"),
        (f"jwt {JWT}, sent", f"jwt {MARK}, sent"),
        (
            "mysql+pymysql://os:dbpw@127.0.0.1:3306/nova?charset=utf8",
            f"mysql+pymysql://{MARK}@127.0.0.1:3306/nova?charset=utf8",
        ),
        ("rabbit://u:one@h1:5672,u:two@h2:5672//", f"rabbit://{MARK}@h2:5672//"),
        ("http://127.0.0.1:5000/v3/users/alice@example.org", "http://127.0.0.1:5000/v3/users/alice@example.org"),
        ("Authorization: Bearer 0123456789abcdef01234", f"Authorization: {MARK}"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nrest",
            f"{MARK}\nrest",
        ),
        ("login failed: password='hunter 2', user=alice", f"login failed: password='{MARK}', user=alice"),
        ("Error: password: hunter2", f"Error: password: {MARK}"),
        ("GET /v3?token=abc123&limit=5", f"GET /v3?token={MARK}&limit=5"),
        ('cut off {"auth_password": "hunt', f'cut off {{"auth_password": "{MARK}"'),
        ('{"a": "{\\"adminPass\\": \\"x y\\"}"}', '{"a":"{\\"adminPass\\":\\"<scrubbed>\\"}"}'),
        ("{'target': 1, 'auth_password': 'x', 'n': None}", f"{{'target': 1, 'auth_password': '{MARK}', 'n': None}}"),
        ('cut off in an escape: password="hunt\\', f'cut off in an escape: password="{MARK}"'),
        (f"id-{JWT}.rest", f"id-{MARK}.rest"),
        ("a=b=password=hunter2", f"a=b=password={MARK}"),
        ("://a:b:c@d:e@host:80/v3", f"://{MARK}@host:80/v3"),
        ("password: None", "password: None"),
        ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"),
        ("a password was changed", "a password was changed"),
    ],
)
def test_secrets_within_a_text(text, expected):
    assert scrub_text(text) == expected
    assert scrub({"message": text}) == {"message": expected}


def test_json_without_a_secret_inside_a_text_is_left_as_it_was_sent():
    text = '{ "token_type":  "Bearer", "b": 1 }'
    assert scrub_text(text) == text


def test_text_that_nothing_can_hold_is_replaced_visibly():
    assert to_json({"a\x00": "b\x00c", "d": "\ud83d alone", "e": "\ud83d\ude00"}) == (
        f'{{"a{NUL_MARK}":"b{NUL_MARK}c","d":"\ufffd alone","e":"\U0001f600"}}'
    )


def test_the_canonical_form_is_independent_of_order_and_space():
    assert to_json({"b": [1, 2.5, None], "a": "ü"}) == '{"a":"ü","b":[1,2.5,null]}'
    assert sha256(to_json({"b": 1, "a": 2})) == sha256(to_json({"a": 2, "b": 1}))


@pytest.mark.parametrize("body", [{"a": float("nan")}, {"a": float("inf")}, {"a": object()}, {"a": {1, 2}}])
def test_what_is_no_json_is_refused(body):
    with pytest.raises(ValueError, match=r"."):
        to_json(body)


def test_what_is_nested_too_deeply_is_refused():
    body: list = []
    for _ in range(100_000):
        body = [body]
    with pytest.raises(ValueError, match="deeply"):
        to_json(body)
    while body:
        body = body.pop()


PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20)
)
KEYS = st.one_of(st.text(max_size=8), st.sampled_from(SECRET_KEYS), st.sampled_from(HARMLESS_KEYS))
NASTY = st.sampled_from(
    [
        FERNET,
        JWT,
        "password=",
        "token: ",
        "Bearer ",
        "://",
        "@",
        ":",
        '"',
        "'",
        "\\",
        "{",
        "[",
        "\x00",
        "\ud800",
        " ",
        "x",
    ]
)
TEXTS = st.one_of(st.text(max_size=12), st.lists(NASTY, max_size=8).map("".join))
BODIES = st.recursive(
    st.one_of(PLAIN, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)


@given(BODIES)
def test_scrubbing_twice_is_scrubbing_once_and_the_input_stays(body):
    before = copy.deepcopy(body)
    once = scrub(body)
    assert body == before
    assert scrub(once) == once
    text = to_json(body)
    assert json.loads(text) == json.loads(to_json(once))
    assert to_json(json.loads(text)) == text


def hidden(secret: str):
    """Bodies that carry `secret`, at any depth, in one of the ways secrets come."""
    keys = st.sampled_from(SECRET_KEYS)
    place = st.one_of(
        keys.map(lambda key: {key: secret}),
        keys.map(lambda key: {key: [{"value": secret}]}),
        keys.map(lambda key: json.dumps({key: {"x": secret}})),
        keys.map(lambda key: repr({"a": (1, {key: secret})})),
        keys.map(lambda key: f"the call failed with {key}={secret}, giving up"),
        keys.map(lambda key: f"header {key}: {secret}"),
        st.just(f"https://alice:{secret}@cloud.example.org/v3"),
    )
    return st.recursive(
        place,
        lambda inner: st.one_of(
            st.tuples(BODIES, inner).map(list),
            st.dictionaries(st.text(max_size=5), inner, min_size=1, max_size=2),
            inner.map(lambda body: json.dumps({"nested": body})),
        ),
        max_leaves=3,
    )


@given(hidden(SECRET))
def test_no_secret_survives_at_any_depth(body):
    assert SECRET not in to_json(body)
    assert SECRET not in json.dumps(scrub(body))


@given(BODIES, st.sampled_from([FERNET, JWT]))
def test_no_token_survives_under_any_key(body, token):
    text = to_json({"some": [body, {"thing": f"({token})"}], token: 1})
    assert token not in text


CHAINS = st.lists(
    st.sampled_from(["a=", "b: ", "://", "://:", ":", "eyJ", "eyJaaaaaa.", ".", "=", "@", "x", '"', "'", "bearer "]),
    max_size=30,
).map("".join)


@given(CHAINS, st.sampled_from([f" token={SECRET}", f"&password={SECRET}", f" {JWT}", f" {FERNET}"]))
def test_no_secret_survives_behind_a_chain_of_what_only_looks_like_one(chain, secret):
    scrubbed = scrub_text(f"{chain}{secret}")
    assert not any(value in scrubbed for value in (SECRET, JWT, FERNET))


@pytest.mark.parametrize(
    "part",
    [
        *("a=", "a=a ", "a: ", "a=>", "a='", 'a="', '\\"a=', "password=a=", "password=none ", "token=bearer "),
        *(":", "://:", "://", "://a:b@", "eyJ", "eyJaaaaaa.", "gAAAAA", "-----BEGIN ", "bearer ", "a=b password="),
    ],
)
def test_the_work_grows_as_the_text_does(part):
    # four times the text took sixteen times as long where every place was the start of a look at all the rest
    short, long = ("token ://" + part * (characters // len(part)) for characters in (15_000, 60_000))
    assert _seconds(long) < 9 * _seconds(short) + 0.01


def _seconds(text: str) -> float:
    """What scrubbing costs, the least of a few times: what else the machine does only adds."""
    spent = []
    for _ in range(4):
        began = time.process_time()
        scrub_text(text)
        spent.append(time.process_time() - began)
    return min(spent)
