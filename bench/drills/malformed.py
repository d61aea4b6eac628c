"""Malformed tokens in numbers: they cost the broker nothing, and the guard little (X-01, X-05)."""

from __future__ import annotations

import random

from agentwrit_guard import Guard
from bench.drills.findings import Findings
from bench.drills.pouring import ROOM, Make, pour, trap
from bench.drills.tokens import HEAD, claims, encoded, packed, signature

RATE = 20_000
"""Tokens that a core has to refuse in a second."""


def run(count: int) -> Findings:
    with trap() as nobody:
        guard = Guard(nobody.url, timeout=0.2)
        poured = pour(guard, kinds(random.Random(1)), count)
        calls = nobody.came
        guard.close()
    slowest, fastest = poured.rates[0], poured.rates[-1]
    strange = sum(times for told, times in poured.refused.items() if told[:3] not in ("400", "401"))
    return Findings(
        {
            "tokens": poured.count,
            "kinds": len(poured.seconds),
            "refused": dict(poured.refused),
            "broker calls": calls,
            "a second and core": round(poured.rate),
            "slowest and fastest kind (a second and core)": dict((slowest, fastest)),
            "memory before and at most (MiB)": [round(poured.before, 1), round(poured.most, 1)],
        },
        {
            "0 let in": poured.allowed == 0,
            "400 or 401, each of them": strange == 0,
            "0 broker calls": calls == 0,
            f"at least {RATE:,} a second and core": poured.rate >= RATE,
            f"at most {ROOM:g} MiB of growth": poured.growth <= ROOM,
        },
    )


def kinds(dice: random.Random) -> dict[str, Make]:
    """Ways to be no token, each another one every time. What is not named is as a broker would have it."""

    def jti() -> str:
        return dice.randbytes(16).hex()

    def token(head: bytes | None = None, payload: bytes | None = None, last: bytes | None = None) -> list[bytes]:
        parts = (head or packed(HEAD), payload or packed(claims(jti())), last or encoded(signature(dice)))
        return [b"Bearer " + b".".join(parts)]

    def text(pattern: str) -> Make:
        """A payload by its text: every `@` is a random `jti`."""
        return lambda: token(payload=encoded(pattern.replace("@", jti()).encode()))

    def head(**members: object) -> Make:
        return lambda: token(head=packed({**HEAD, **members}))

    def saying(**changes: object) -> Make:
        return lambda: token(payload=packed(claims(jti(), **changes)))

    def joined(count: int) -> Make:
        return lambda: [b"Bearer " + b".".join(encoded(dice.randbytes(24)) for _ in range(count))]

    return {
        "no dot": joined(1),
        "one dot": joined(2),
        "no JSON": joined(3),
        "three dots": joined(4),
        "four dots": joined(5),
        "dots alone": lambda: [b"Bearer " + b"." * dice.randrange(3, 8000)],
        "empty payload": lambda: [b"Bearer " + packed(HEAD) + b".." + encoded(signature(dice))],
        "trailing dot": lambda: [token()[0] + b"."],
        "padded": lambda: token(payload=encoded(dice.randbytes(200)) + b"="),
        "plus and slash": lambda: token(payload=b"+/" + encoded(dice.randbytes(300))),
        "other bytes": lambda: token(payload=b"!~" + encoded(dice.randbytes(300))),
        "not canonical": lambda: token(last=encoded(signature(dice))[:-1] + b"h"),
        "short signature": lambda: token(last=encoded(dice.randbytes(63))),
        "long signature": lambda: token(last=encoded(dice.randbytes(72))),
        "alg none": head(alg="none"),
        "alg HS256": head(alg="HS256"),
        "alg in a list": head(alg=["EdDSA"]),
        "typ of others": head(typ="at+jwt"),
        "kid that is a path": head(kid="../../etc/passwd"),
        "crit": head(crit=["exp"]),
        "jwk": head(jwk={"kty": "OKP"}),
        "header twice over": lambda: token(head=encoded(b'{"alg":"none","alg":"EdDSA"}')),
        "payload no object": text('["@"]'),
        "payload cut off": text('{"jti":"@","exp"'),
        "payload with more behind": text('{"jti":"@"}{}'),
        "member twice": text('{"jti":"@","exp":1,"exp":2}'),
        "member in capitals": text('{"jti":"@","EXP":1}'),
        "NaN": text('{"jti":"@","exp":NaN}'),
        "nested": text('{"jti":"@","x":' + "[" * 2000 + "]" * 2000 + "}"),
        "lone surrogate": text('{"jti":"@","sub":"\\ud800"}'),
        "not UTF-8": lambda: token(payload=encoded(b'{"jti":"\xff' + jti().encode() + b'"}')),
        "exp as a text": saying(exp="9999999999"),
        "exp as a float": saying(exp=1e10),
        "no subject": saying(sub=None),
        "scope as a text": saying(scope="read:customers:7291"),
        "too many scopes": saying(scope=["read:x:1"] * 257),
        "control character": saying(task_id="x\n"),
        "beyond 8 KiB": lambda: [b"Bearer " + encoded(dice.randbytes(dice.randrange(6150, 9000)))],
        "all of 8 KiB, and no JSON": lambda: token(payload=encoded(dice.randbytes(5900))),
        "all of 8 KiB, and wrong at its end": text('{"jti":"@","x":"' + "y" * 5800 + '",}'),
        "two headers": lambda: [*token(), *token()],
        "two tokens": lambda: [token()[0] + b", " + token()[0]],
        "comma": lambda: [token()[0] + b","],
        "blank within": lambda: [token()[0] + b" x"],
        "byte beyond ASCII": lambda: [token()[0] + b"\xe9"],
        "scheme alone": lambda: [b"Bearer" + b" " * dice.randrange(1, 8000)],
        "tab": lambda: [b"Bearer\t" + token()[0]],
    }
