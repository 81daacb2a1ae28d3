"""Say what the Spanish catalogue lacks: python tests/check_translations.py, from the project's folder.

Every text of the sources is in the .po and no other, each is translated, none is marked fuzzy, and the
.mo says the same.
"""

import gettext
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CATALOGUE = Path("usage/locale/es/LC_MESSAGES/django.po")
SOURCES = ["billing_dashboard", "manage.py", "templates", "usage"]


def run(*command: str | Path, folder: Path = ROOT) -> str:
    """What the command complained of, if it failed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return (done.stderr.strip() or f"{command[0]} failed") if done.returncode else ""


def extracted(scratch: Path) -> Path:
    """The catalogue that makemessages writes from the sources, made in a copy of them."""
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, scratch / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, scratch)
    (scratch / CATALOGUE).unlink()
    complaint = run(sys.executable, "manage.py", "makemessages", "--locale", "es", folder=scratch)
    if complaint:
        raise SystemExit(f"makemessages: {complaint}")
    return scratch / CATALOGUE


def translations(mo: Path) -> dict[object, str]:
    if not mo.is_file():
        return {}
    with mo.open("rb") as file:
        catalogue: dict[object, str] = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    return {text: translation for text, translation in catalogue.items() if text != ""}


def faults(scratch: Path) -> list[str]:
    po, fresh, compiled = ROOT / CATALOGUE, extracted(scratch), scratch / "compiled.mo"
    compare = ["msgcmp", "--no-fuzzy-matching"]
    found = {
        "not translated": run(*compare, po, fresh),
        "in no source": run(*compare, "--use-untranslated", "--use-fuzzy", fresh, po),
        "not well-formed": run("msgfmt", "--check-format", "--output-file", compiled, po),
    }
    if not found["not well-formed"] and translations(compiled) != translations(po.with_suffix(".mo")):
        found["the .mo"] = "is not compiled from this .po: manage.py compilemessages"
    return [f"{what}: {complaint}" for what, complaint in found.items() if complaint]


def main() -> int:
    if not (ROOT / CATALOGUE).is_file():
        raise SystemExit(f"there is no {CATALOGUE}")
    with tempfile.TemporaryDirectory() as scratch:
        found = faults(Path(scratch))
    print("\n".join(found) or "translations: complete and in step")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
