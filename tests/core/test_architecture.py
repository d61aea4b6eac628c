"""Promise 1 as a test, and the project's own lint rules (threats section 5): what must not be in the source at all.

Nothing in core/ waits, reads a clock, or knows a network, a framework or a cipher. No part of the package reads a
header as text would be read, rebuilds a URL from one, unpickles, switches TLS verification off, or logs a token.
"""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest

import agentwrit_guard
import agentwrit_guard.core

PACKAGE = pathlib.Path(agentwrit_guard.__file__).parent
FILES = sorted(pathlib.Path(next(iter(agentwrit_guard.core.__path__))).rglob("*.py"))
TREES = {
    str(path.relative_to(PACKAGE).with_suffix("")): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}
# The twin stands for somebody else's program, and is told apart where it need not keep a rule of the guard's.
OURS = {name: tree for name, tree in TREES.items() if not name.startswith("devbroker/")}
FORBIDDEN = {
    "asyncio",
    "anyio",
    "httpx",
    "httpcore",
    "socket",
    "ssl",
    "cryptography",
    "starlette",
    "time",
    "select",
    "trio",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_core_never_waits(path: pathlib.Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not isinstance(node, (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith))
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.partition(".")[0] for name in names} & FORBIDDEN
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in {("time", "time"), ("time", "monotonic"), ("datetime", "now")}


def test_core_is_all_there() -> None:
    assert {"bearer", "cache", "chain", "claims", "engine", "jws", "requirements", "scopes", "wire"} <= {
        p.stem for p in FILES
    }


def dotted(node: ast.AST) -> str:
    """`a.b` of an attribute of a name, the last part alone of anything deeper."""
    if isinstance(node, ast.Attribute):
        return f"{node.value.id}.{node.attr}" if isinstance(node.value, ast.Name) else node.attr
    return node.id if isinstance(node, ast.Name) else ""


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def function(module: str, name: str) -> ast.FunctionDef:
    (found,) = (n for n in ast.walk(TREES[module]) if isinstance(n, ast.FunctionDef) and n.name == name)
    return found


# Of text methods, these eat or fold more than SP, TAB and ASCII letters.
TEXT_METHODS = {"strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "casefold", "title", "upper"}


def test_the_header_parser_reads_bytes() -> None:
    """A scheme that a pattern of ASCII has matched may be folded as bytes: nothing else is."""
    used = [node.func for node in calls(TREES["core/bearer"]) if isinstance(node.func, ast.Attribute)]
    assert [ast.unparse(one) for one in used if one.attr in TEXT_METHODS] == []
    folded = {ast.unparse(one.value) for one in used if one.attr == "lower"}
    assert folded <= {"scheme.group(1)"}
    module = TREES["core/bearer"]
    (pattern,) = (n for n in ast.walk(module) if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "_SCHEME")
    assert isinstance(pattern.value, ast.Call)
    assert isinstance(pattern.value.args[0], ast.Constant)
    assert isinstance(pattern.value.args[0].value, bytes)
    for reader in ("asgiscope", "environ"):
        used = [node.func for node in calls(function(reader, "authorization")) if isinstance(node.func, ast.Attribute)]
        assert {ast.unparse(one) for one in used} <= {"name.lower", "environ.get", "value.encode"}


@pytest.mark.parametrize("name", [name for name in OURS if not name.startswith("client/")])
def test_no_url_is_rebuilt_from_a_request(name: str) -> None:
    """`request.url` is made of the Host header. In client/ the request is one that it sends itself."""
    wanted = {"url", "base_url", "url_root", "host_url", "url_for"}
    holders = {"request", "conn", "websocket", "connection"}
    attributes = [node for node in ast.walk(TREES[name]) if isinstance(node, ast.Attribute) and node.attr in wanted]
    assert [
        ast.unparse(node) for node in attributes if isinstance(node.value, ast.Name) and node.value.id in holders
    ] == []


@pytest.mark.parametrize("name", TREES)
def test_nothing_is_unpickled_or_evaluated(name: str) -> None:
    unsafe = {"pickle", "marshal", "shelve", "dill", "yaml", "jsonpickle", "cloudpickle"}
    for node in ast.walk(TREES[name]):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {module.partition(".")[0] for module in modules} & unsafe
        if isinstance(node, ast.Call):
            assert dotted(node.func) not in {"eval", "exec", "compile", "__import__"}


@pytest.mark.parametrize("name", TREES)
def test_tls_verification_is_never_switched_off(name: str) -> None:
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.keyword) and node.arg in ("verify", "check_hostname", "trust_env"):
            if node.arg == "trust_env":
                assert ast.unparse(node.value) == "False"
            else:
                assert ast.unparse(node.value) not in ("False", "None", "0")
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"CERT_NONE", "CERT_OPTIONAL", "_create_unverified_context"}
        if isinstance(node, ast.Assign):
            for target in node.targets:
                assert not (isinstance(target, ast.Attribute) and target.attr in ("check_hostname", "verify_mode"))


LOGGING = {"debug", "info", "warning", "error", "exception", "critical", "log"}
SECRET = {"token", "jws", "secret", "authorization", "spelt", "access_token", "client_secret", "admin_secret", "bearer",
          "reveal", "payload", "signature", "private_key", "kid"}  # fmt: skip


@pytest.mark.parametrize("name", OURS)
def test_nothing_that_logs_names_a_token(name: str) -> None:
    for node in calls(OURS[name]):
        if not isinstance(node.func, ast.Attribute) or node.func.attr not in LOGGING:
            continue
        if not re.search("log|events", ast.unparse(node.func.value)):
            continue
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            named = {n.id for n in ast.walk(argument) if isinstance(n, ast.Name)}
            named |= {n.attr for n in ast.walk(argument) if isinstance(n, ast.Attribute)}
            assert not named & SECRET, ast.unparse(node)
        assert node.func.attr != "exception", "a traceback says more than we wrote"
        assert all(keyword.arg not in ("exc_info", "stack_info") for keyword in node.keywords)


# Names whose values must not be compared in a time that tells how much of them is right.
MATERIAL = ("secret", "digest", "signature", "hash", "mac", "token", "nonce", "password")


def _named(node: ast.AST) -> str:
    return dotted(node.func if isinstance(node, ast.Call) else node).rpartition(".")[2].lower()


def test_every_logger_is_known_by_its_name() -> None:
    """The rule above knows a logger by what it is called."""
    nodes = [node for tree in OURS.values() for node in ast.walk(tree)]
    assigned = [(node, node.value) for node in nodes if isinstance(node, (ast.Assign, ast.AnnAssign))]
    made = [
        node for node, value in assigned if isinstance(value, ast.Call) and dotted(value.func).endswith("getLogger")
    ]
    assert made
    for node in made:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        assert re.search("log|events", ast.unparse(target))


@pytest.mark.parametrize("name", [name for name in TREES if not name.startswith("client/")])
def test_o_01_secrets_and_hashes_are_not_compared_by_equality(name: str) -> None:
    """A program that uses the client compares its own tokens with its own: there is nobody to time it."""
    found = []
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Compare) and any(isinstance(op, (ast.Eq, ast.NotEq)) for op in node.ops):
            sides = [node.left, *node.comparators]
            # A literal on either side is no secret, nor is a length.
            if not any(isinstance(side, ast.Constant) or _named(side) == "len" for side in sides):
                found += [ast.unparse(node) for side in sides if any(part in _named(side) for part in MATERIAL)]
    assert found == []


@pytest.mark.parametrize("module, where, guarded", [
    ("core/chain", "_hash_fits", "chain_hash"),
    ("devbroker/state", "is_admin_secret", "_admin_digest"),
    ("devbroker/state", "app_of_client", "digest"),
])  # fmt: skip
def test_o_01_what_is_compared_is_compared_in_constant_time(module: str, where: str, guarded: str) -> None:
    (compared,) = (node for node in calls(function(module, where)) if dotted(node.func) == "hmac.compare_digest")
    assert guarded in ast.unparse(compared)
