"""What the site has beside docs/*.md: README.md as its first page, the figures, the notebooks, and the reference.

The notebooks are the scripts in docs/examples, in percent format: `# %%` begins a cell. The reference has a page for each room,
and in it the names that the room's `__init__.pyi` exports, which are the public ones.
"""

import ast
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
FIGURES = (".png", ".csv")
UP = re.compile(r"\]\(\.\./((?:\.\./)*figures/)")  # in a page, docs/ is no folder


def stubs() -> dict[str, Path]:
    """The stub of each module that exports names, by the module's name."""
    found = {path.parent: path for path in sorted((ROOT / "tla").rglob("__init__.pyi"))}
    return {".".join(folder.relative_to(ROOT).parts): path for folder, path in found.items()}


def public(stub: Path) -> list[str]:
    """The names that a stub exports."""
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    taken = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module]  # without one, it is rooms
    return sorted((name.asname or name.name for node in taken for name in node.names), key=str.lower)


def reference(module: str, names: list[str]) -> str:
    """A page of the reference."""
    bare = ["members: false", "show_root_heading: false", "show_root_toc_entry: false"]
    room = "\n".join([f"::: {module}", "    options:", *(f"      {option}" for option in bare)])
    return "\n\n".join([f"# {module}", room, *(f"::: {module}.{name}" for name in names)]) + "\n"


def notebook(script: str) -> str:
    """A script in percent format as a page."""
    cells = re.split(r"^# %%(.*)\n", script, flags=re.MULTILINE)[1:]
    parts = []
    for kind, text in zip(cells[::2], cells[1::2], strict=True):
        is_text = "[markdown]" in kind
        parts.append(re.sub("^# ?", "", text.strip(), flags=re.MULTILINE) if is_text else f"```python\n{text.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def on_config(config: Any) -> Any:
    """List the pages of the reference, and the notebooks."""
    sections = {name: pages for entry in config.nav for name, pages in entry.items()}
    sections["In a notebook"] += [f"examples/{path.stem}.md" for path in EXAMPLES]
    sections["Reference"] += [{module: f"reference/{module}.md"} for module in stubs()]
    return config


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages and figures that do not lie in docs/."""
    home = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=home))
    for module, stub in stubs().items():
        files.append(File.generated(config, f"reference/{module}.md", content=reference(module, public(stub))))
    for path in EXAMPLES:
        files.append(File.generated(config, f"examples/{path.stem}.md", content=notebook(path.read_text(encoding="utf-8"))))
    for path in sorted(path for path in (ROOT / "figures").rglob("*") if path.suffix in FIGURES):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links to figures and notebooks, as they lie in the site."""
    return re.sub(r"\]\((examples/\w+)\.py\)", r"](\1.md)", UP.sub(r"](\1", markdown))
