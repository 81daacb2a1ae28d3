"""Imports run one way (docs/decisions/0001): what the folder listing promises, the code keeps."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

MAY_IMPORT: dict[str, set[str]] = {
    "usage/wolkvox": {"usage.wolkvox"},
    "usage/tokens.py": set(),
    "usage/models.py": {"usage.tokens", "usage.wolkvox.catalogue"},
    "usage/disk.py": set(),
    "usage/connections.py": set(),
    "usage/collecting": {"usage.collecting", "usage.disk", "usage.models", "usage.tokens", "usage.wolkvox"},
    "usage/presenting": {
        "usage.presenting",
        "usage.disk",
        "usage.models",
        "usage.wolkvox.catalogue",
        "usage.wolkvox.errors",
    },
    "usage/views.py": {"usage.presenting", "usage.models", "usage.forms"},
    "usage/templatetags": {"usage.presenting"},
    "usage/tasks.py": {"usage.collecting", "usage.disk"},
}
"""Of the project's own modules, what each may import."""

INSIDE: dict[str, list[str]] = {
    "usage/collecting": [
        "rows",
        "months",
        "turns",
        "folding",
        "rebuilding",
        "snapshots",
        "recording",
        "closing",
        "polling",
    ],
    "usage/presenting": [
        *("comparing", "figures", "queries", "insights", "overview", "operation", "products", "years"),
        *("filters", "charts", "tables"),
    ],
}
"""Inside a package, each may import those before it only."""

OWN = ("usage", "billing_dashboard")


def imports(path: Path) -> set[str]:
    """The modules that a file imports, absolute, `from a import b` as a.b."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def files(place: str) -> list[Path]:
    path = ROOT / place
    return [path] if path.suffix else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("place", MAY_IMPORT)
def test_a_part_imports_only_what_it_may(place: str) -> None:
    allowed = tuple(MAY_IMPORT[place])
    for path in files(place):
        for name in imports(path):
            if name.split(".")[0] in OWN:
                assert any(name == one or name.startswith(f"{one}.") for one in allowed), f"{path}: {name}"


def test_the_vendors_world_knows_no_django() -> None:
    for path in files("usage/wolkvox"):
        roots = {name.split(".")[0] for name in imports(path)}
        assert not roots & {"django", "celery", "billing_dashboard"}, path


@pytest.mark.parametrize("package", INSIDE)
def test_inside_a_package_imports_run_one_way_too(package: str) -> None:
    order = INSIDE[package]
    dotted = package.replace("/", ".")
    for position, module in enumerate(order):
        for path in (ROOT / package / f"{module}.py",):
            later = {f"{dotted}.{name}" for name in order[position + 1 :]}
            assert not {".".join(name.split(".")[:3]) for name in imports(path)} & later, path
