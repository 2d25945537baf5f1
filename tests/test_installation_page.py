"""The page on installation names every extra and every environment variable."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
CODE = [*(ROOT / "tl_lab").rglob("*.py"), *(ROOT / "hydra_plugins").rglob("*.py")]
TREES = [ast.parse(path.read_text(encoding="utf-8")) for path in CODE]


def test_every_extra_is_listed_with_whether_a_clone_installs_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    own = next(text for text in project["dependency-groups"]["dev"] if text.startswith("tl_lab["))
    installed = own.removeprefix("tl_lab[").removesuffix("]").split(",")
    extras = {name: "yes" if name in installed else "no" for name in project["project"]["optional-dependencies"]}
    assert dict(re.findall(r"^\| `(\w+)` \| .* \| (yes|no) \|$", PAGE, re.MULTILINE)) == extras


def test_every_environment_variable_is_listed() -> None:
    read = set(_variables())
    assert {"TL_LAB_DATA", "TL_LAB_CACHE", "TL_LAB_DIES_WITH", "CUDA_VISIBLE_DEVICES", "WANDB_RUN_ID", "UV"} <= read
    config = (ROOT / "conf" / "config.yaml").read_text(encoding="utf-8")
    read |= set(re.findall(r"oc\.env:(\w+)", config))
    assert sorted(name for name in read if f"`{name}`" not in PAGE) == []
    assert set(re.findall(r"`(TL_LAB_\w+)`", PAGE)) == {name for name in read if name.startswith("TL_LAB_")}


def _variables() -> Iterator[str]:
    """Find the names that the code looks up in the environment, also those that constants contain."""
    constants: dict[str, list[str]] = {}
    for tree in TREES:
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                texts = [one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant)]
                names = [text for text in texts if isinstance(text, str) and re.fullmatch(r"[A-Z][A-Z0-9_]*", text)]
                constants.setdefault(node.targets[0].id, []).extend(names)
    for node in (node for tree in TREES for node in ast.walk(tree)):
        for key in _keys(node):
            if isinstance(key, ast.Constant):
                yield str(key.value)
            elif isinstance(key, ast.Name):
                yield from constants.get(key.id, [])
    yield from constants["_IDENTITY"]


def _keys(node: ast.AST) -> list[ast.expr]:
    """Return the key of a look-up in ``os.environ``, or in a mapping called ``environment``."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_environment(node.func.value):
        return node.args[:1]
    if isinstance(node, ast.Subscript) and _is_environment(node.value):
        return [node.slice]
    if isinstance(node, ast.Compare) and any(map(_is_environment, node.comparators)):
        return [node.left]
    return []


def _is_environment(node: ast.expr) -> bool:
    return ast.unparse(node) in ("os.environ", "environment")
