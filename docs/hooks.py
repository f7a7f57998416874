"""What the site adds to the pages in docs/ when it is built: README and its like, figures, and the tutorial's output.

mkdocs calls the functions ``on_…`` (mkdocs.yml names this file). Nothing that is made here is stored in the repository.
"""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "data/README.md": "DATA.md",
    "reliability/fuzz/README.md": "FUZZ.md",
}
"""Pages outside docs/ and where the site has them."""
FOLDERS = {"configs": "CONFIGS.md", "examples": "EXAMPLES.md", "CITATION.cff": "CITATION.cff"}
"""Pages that stand for what is no page."""
RUN = re.compile(r"^```(console|python) run\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
TUTORIAL = "TUTORIAL.md"


def on_startup(**_: Any) -> None:
    """Find app and docs.figures wherever mkdocs is started; mkdocs takes back what a hook adds while it is loaded."""
    sys.path.insert(0, str(ROOT))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add pages from outside docs/, the configurations, the examples and the figures."""
    from docs.figures import FIGURES, svg

    for source, target in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, target, content=_with_links(text, posixpath.dirname(source))))
    about = "`config=NAME` takes one of these files; `_base_` is the file it builds on."
    files.append(File.generated(config, "CONFIGS.md", content=_listed("Configurations", about, "configs", "yaml")))
    about = "One for each task, run by the tests; those that begin with `my_` are plugins."
    files.append(File.generated(config, "EXAMPLES.md", content=_listed("Examples", about, "examples", "py")))
    files.append(File.generated(config, "CITATION.cff", abs_src_path=str(ROOT / "CITATION.cff")))
    for path in sorted((ROOT / "examples").glob("*.py")):
        files.append(File.generated(config, f"examples/{path.name}", abs_src_path=str(path)))
    for name in FIGURES:
        files.append(File.generated(config, f"figures/{name}.svg", content=svg(name)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Mend links that lead out of docs/, and run the tutorial."""
    if page.file.generated_by:
        return markdown
    markdown = _with_links(markdown, "docs")
    return executed(markdown) if page.file.src_uri == TUTORIAL else markdown


def _with_links(text: str, folder: str) -> str:
    """Links of a page in a folder of the repository, as the site, whose pages are all in docs/, needs them."""

    def mended(match: re.Match[str]) -> str:
        target, anchor = match[2], match[3] or ""
        if target.startswith(("http:", "https:", "mailto:")):
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        inside = PAGES.get(path) or FOLDERS.get(path) or path.removeprefix("docs/")
        return f"{match[1]}({inside}{anchor})"

    return re.sub(r"(\[[^\]]*\])\(([^)#\s]+)(#[^)\s]*)?\)", mended, text)


def _listed(title: str, about: str, folder: str, ending: str) -> str:
    """A page with the files of a folder."""
    parts = [f"# {title}", "", about, ""]
    for path in sorted((ROOT / folder).glob(f"*.{ending}")):
        parts += [f"## {path.stem}", "", f"```{ending}", path.read_text(encoding="utf-8").rstrip(), "```", ""]
    return "\n".join(parts)


def executed(markdown: str) -> str:
    """A page with what its blocks ``console run`` and ``python run`` print below them; they share a folder.

    Raises:
        PluginError: a command fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train.py").symlink_to(ROOT / "train.py")
        names: dict[str, Any] = {"__name__": "tutorial"}
        with contextlib.chdir(folder):
            return RUN.sub(lambda block: _with_output(block[1], block[2], names), markdown)


def _with_output(kind: str, code: str, names: dict[str, Any]) -> str:
    if kind == "console":
        return "```console\n" + "".join(_commands(code)) + "```\n"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, TUTORIAL, "exec"), names)
    output = f"```text\n{printed.getvalue().rstrip()}\n```\n" if printed.getvalue() else ""
    return f"```python\n{code}```\n{output}"


def _commands(code: str) -> Iterator[str]:
    """Each ``$ command`` with what it prints on standard output, but for progress bars."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    for line in code.splitlines():
        command = ["bash", "-o", "pipefail", "-c", line.removeprefix("$ ")]
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PluginError(f"{TUTORIAL}: {line} failed ({done.returncode}): {done.stderr[-2000:]}")
        shown = re.sub(r"^(.*[0-9?]it/s.*|\s*\x1b\[A)\n", "", done.stdout, flags=re.MULTILINE)
        yield f"{line}\n" + re.sub(r"\n{3,}", "\n\n", f"{shown.strip()}\n")
