"""Write the committed files that are made from the command tree: `python -m tests.generate`.

To have another kind of file written, add its producer to PRODUCERS; tests/test_generate.py then looks after it.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from cometrep import cli, manual
from cometrep.completion.scripts import script
from cometrep.manual.page import Page
from cometrep.manual.roff import roff_text

ROOT = Path(__file__).parents[1]

Producer = Callable[[Page], Mapping[str, str]]
"""Gives files' contents by their paths below the root, from the command tree."""


def manual_pages(root: Page) -> Mapping[str, str]:
    """Give the manual pages."""
    return {f"man/{one.name}.{one.section}": roff_text(one) for one in manual.documents(root)}


def completions(root: Page) -> Mapping[str, str]:
    """Give the completion scripts, under the names by which shells find them."""
    names = {"bash": "cometrep", "zsh": "_cometrep", "fish": "cometrep.fish"}
    return {f"completions/{name}": script(shell, root) for shell, name in names.items()}


PRODUCERS: tuple[Producer, ...] = (manual_pages, completions)


def produced() -> dict[str, str]:
    """Give every generated file's content by its path below the root."""
    root = cli.pages()
    return {path: text for producer in PRODUCERS for path, text in producer(root).items()}


def stray(paths: Mapping[str, str]) -> Iterator[Path]:
    """Find files that stand in the folders of generated ones and are not generated."""
    for folder in sorted({(ROOT / path).parent for path in paths}):
        yield from (path for path in sorted(folder.glob("*")) if str(path.relative_to(ROOT)) not in paths)


def main() -> None:
    """Write what has changed, and remove what is not generated any more."""
    files = produced()
    for path, text in files.items():
        target = ROOT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_text("utf-8") != text:
            target.write_text(text, "utf-8")
    for left in stray(files):
        left.unlink()


if __name__ == "__main__":
    main()
