"""Recorded exchanges of the real broker, and how one is replayed against the twin."""

from __future__ import annotations

import base64
import http.client
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from agentwrit_guard.devbroker import DevBroker

# Three segments; the last may hold odd spellings: padding, and CR or LF, as such or as JSON escapes.
_TOKEN = re.compile(r"(?<![A-Za-z0-9_-])([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.((?:[A-Za-z0-9_=\r\n-]|\\[rn])+)")
_ODD = re.compile(r"\\[rn]|[=\r\n]")
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_PLACEHOLDER = "<differs>"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: str


def unb64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def dumps(value: Any) -> str:
    """JSON in the broker's spelling."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for char in "&<>\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def given_to(broker: DevBroker, meta: dict[str, Any], text: str) -> str:
    """`text` with every recorded token in it as this twin would have issued it, oddities of spelling kept."""
    recorded_key = Ed25519PublicKey.from_public_bytes(unb64url(meta["public_key_b64url"]))

    def replaced(match: re.Match[str]) -> str:
        header, payload, signature = match.groups()
        try:
            header_text = unb64url(header).decode()
            own_header = b64url(header_text.replace(meta["kid"], broker.kid).encode())
        except ValueError:
            return match.group()
        plain = _ODD.sub("", signature)
        own_text = f"{own_header}.{payload}"
        try:
            recorded_key.verify(unb64url(plain), f"{header}.{payload}".encode())
        except InvalidSignature:
            if len(unb64url(plain)) != 64:
                return f"{own_text}.{signature}"
            # Broken by its signature alone: the right kid, and a well-made signature of another key.
            return f"{own_text}.{b64url(Ed25519PrivateKey.generate().sign(own_text.encode()))}"
        except ValueError:
            return f"{own_text}.{signature}"
        own = b64url(broker.private_key.sign(own_text.encode()))
        # The last character carries two bits of the signature and four that mean nothing.
        stray = _ALPHABET.index(plain[-1]) & 0b1111
        own = own[:-1] + _ALPHABET[_ALPHABET.index(own[-1]) & 0b110000 | stray]
        for odd in _ODD.finditer(signature):
            own = own[: odd.start()] + odd.group() + own[odd.start() :]
        return f"{own_text}.{own}"

    return _TOKEN.sub(replaced, text)


def send(broker: DevBroker, request: dict[str, Any], meta: dict[str, Any]) -> Reply:
    """One recorded request over a real connection, its path as recorded: HTTP clients would tidy it up."""
    fill = request.get("body_fill")
    body = fill["prefix"] + fill["char"] * fill["count"] + fill["suffix"] if fill else request["body"]
    headers = {name: given_to(broker, meta, value) for name, value in request["headers"].items()}
    # A hundred thousand characters of filling are no token.
    payload = None if body is None else (body if fill else given_to(broker, meta, body)).encode()
    connection = http.client.HTTPConnection(urlsplit(broker.url).netloc, timeout=10)
    try:
        connection.request(request["method"], request["path"], payload, headers)
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read().decode())
    finally:
        connection.close()


def payload_of(token: str) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(unb64url(token.split(".")[1]))
    return payload


def comparable(body: str, random: list[str]) -> str:
    """The body with what differs from run to run replaced, members in order; tokens by their comparable payload."""
    content = json.loads(body)
    assert body == f"{dumps(content)}\n", "not in the broker's spelling"
    new_agent = "agent_id" in random
    for path in random:
        *parents, last = path.split(".")
        holder = content
        for step in parents:
            holder = holder[_key(step)]
        if last == "access_token":
            holder[last] = _comparable_token(holder[last], new_agent)
        else:
            holder[_key(last)] = _PLACEHOLDER
    return dumps(content)


def _comparable_token(token: str, new_agent: bool) -> str:
    payload = payload_of(token)
    assert unb64url(token.split(".")[1]).decode() == dumps(payload)
    payload["jti"] = _PLACEHOLDER
    if new_agent:
        payload["sub"] = payload["sub"].rpartition("/")[0]
    if "delegation_chain" in payload:
        payload["delegation_chain"][-1] |= {"delegated_at": _PLACEHOLDER, "signature": _PLACEHOLDER}
        payload["chain_hash"] = _PLACEHOLDER
    return dumps(payload)


def _key(step: str) -> str | int:
    return int(step) if re.fullmatch(r"-?[0-9]+", step) else step
