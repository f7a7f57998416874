"""What README and docs show runs as it is written."""

import re
import shlex

import pytest

import app
from app.config import load_config
from tests.support import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)[^)]*\)")


def snippets():
    """All code but that of docs/EXTENDING.md, which tests/test_examples.py compares with the files that it runs."""
    for page in (page for page in PAGES if page.name != "EXTENDING.md"):
        for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL), 1):
            yield pytest.param(code, id=f"{page.relative_to(ROOT)}-{number}")


@pytest.mark.parametrize("code", [*snippets()])
def test_snippets_run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "snippet", "exec"), {"__name__": "snippet"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        assert target.startswith(("http", "mailto:")) or (page.parent / target).exists(), target


CODE = [path for folder in ("app", "benchmarks", "reliability") for path in sorted((ROOT / folder).rglob("*.py"))]
FOLDERS = "app|benchmarks|configs|docs|examples|reliability|tests"


@pytest.mark.parametrize("page", [*PAGES, *CODE], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_is_named_exists(page):
    """Paths in backticks, and modules that docstrings refer to."""
    text = page.read_text(encoding="utf-8")
    named = re.findall(rf"`((?:{FOLDERS})/[\w/.-]*)`", text)
    assert not [name for name in named if not (ROOT / name).exists()]
    modules = re.findall(r":(?:mod|class|func|data|meth|attr):`~?(app(?:\.\w+)+)`", text)
    assert not [name for name in modules if not _is_known(name)]


def _is_known(name):
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for k in range(len(parts), 1, -1):
        place = ROOT.joinpath(*parts[:k])
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return k == len(parts) or re.search(rf"\b{parts[k]}\b", path.read_text()) is not None
    return False


def commands():
    """All lines that train, but those with an ellipsis, a checkpoint or code of one's own."""
    for page in PAGES:
        for line in re.findall(r"^(?:    |\$ )?(?:srun )?python train\.py(.*)$", page.read_text(), re.MULTILINE):
            if not re.search(r"…|<|\[key|ckpt=|plugins=|\\\\?$", line):
                line = re.split(r" [|&#] ?|&&|\s# ", line)[0]
                yield pytest.param(line.split("#")[0], id=f"{page.name}:{line.strip()[:60]}")


@pytest.mark.parametrize("line", [*dict.fromkeys(commands())])
def test_settings_of_commands_are_settings(line, tmp_path, monkeypatch):
    """Data that the reader has, and the reader alone, are not looked for here."""
    argv = [argument for argument in shlex.split(line) if argument not in ("--print-config", "--help", "--help-all")]
    if not any(argument.startswith("data.path=") for argument in argv):
        assert load_config(argv).task


def test_the_api_page_has_every_name_for_a_notebook():
    page = (ROOT / "docs/API.md").read_text()
    assert not [name for name in app.__all__ if not re.search(rf"(?m)(^::: app\.[\w.]+\.|`app\.){name}\b", page)]
