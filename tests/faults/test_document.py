"""docs/faults.md names tests that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_every_test_that_the_document_names_is_there() -> None:
    document = (ROOT / "docs" / "faults.md").read_text()
    named = re.findall(r"`(?:tests/)?([\w/]+\.py)::(test_\w+)", document)
    assert len(named) > 20
    for file, test in named:
        found = [path for path in (ROOT / "tests" / file, ROOT / "tests" / "faults" / file) if path.is_file()]
        assert any(f"def {test}(" in path.read_text() for path in found), f"{file}::{test}"
