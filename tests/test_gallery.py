"""The page of a batch's pictures: what stands on it, and how a real browser shows it."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cometrep import errors
from cometrep.batch.gallery import Gallery
from cometrep.batch.record import Record
from cometrep.prediction import SavedFile
from cometrep.small_files import write_whole
from cometrep.text import harmless
from tests.browser import Browser, Page

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9" width="9" height="9"/>'
HOSTILE = "</dd></style></title><script>window.x=1</script><img src=x onerror=window.x=1>\"' onload='window.x=1"
ODD_NAMES = [
    (":a.svg", "./%3Aa.svg"),
    ("javascript:window.x=1.svg", "./javascript%3Awindow.x%3D1.svg"),
    (" a %41#?'\"&amp;.svg", "./%20a%20%2541%23%3F%27%22%26amp%3B.svg"),
    (os.fsdecode(b"\xff\xfe.svg"), "./%FF%FE.svg"),
    ("x\nü🌊.svg", "./x%0A%C3%BC%F0%9F%8C%8A.svg"),
]


def save(
    folder: Path,
    line: int,
    *names: str,
    item: tuple[str, str, str] = ("", "a/b", "id"),
    shard: tuple[int, int] | None = None,
    time: float = 1e9,
    **values: Any,
) -> None:
    """Note an item, with its key, model and prediction, as a batch does that sent it and saved its files."""
    key, model, id = item
    key = key or f"k{line}"
    record = Record(folder, shard, now=lambda: time)
    record.open()
    record._newest = 0.0  # as if it had begun before all others
    record.add("sending", key, line=line, model=model, input=values)
    record.add("ended", key, id=id, status="succeeded", seconds=6.1, seed=7)
    record.add("saved", key, id=id, files=[SavedFile(name, 0, 1, "00").as_json() for name in names])
    record.close()


def page(folder: Path, axes: dict[str, list[Any]] | None = None) -> str:
    """Write the page and read it."""
    Gallery(folder, axes or {}).write()
    return (folder / "index.html").read_text("utf-8")


class Reading(HTMLParser):
    """What a parser finds in a page: every tag with its attributes' names, all values, and text by element."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, ...]] = []
        self.values: list[tuple[str, str]] = []
        self.blocks: list[tuple[str, str]] = [("", "")]
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag; `div` and the like begin a block of text, named by class or tag."""
        self.tags.append((tag, *(name for name, _ in attrs)))
        self.values += [(name, value or "") for name, value in attrs]
        if tag in ("a", "dd", "div", "dt", "h1", "h2", "h3", "p", "script", "style", "summary", "title"):
            self.blocks.append((dict(attrs).get("class") or tag, ""))

    def handle_endtag(self, tag: str) -> None:
        """End a block, so that what follows is not taken for a part of it."""
        if tag not in ("b", "kbd", "span"):
            self.blocks.append(("", ""))

    def handle_data(self, data: str) -> None:
        """Add text to its block."""
        name, text = self.blocks[-1]
        self.blocks[-1] = (name, text + data)

    def texts(self, *names: str) -> list[str]:
        """Give the text of all blocks of some names, in order."""
        return [text for name, text in self.blocks if name in names]

    def hrefs(self) -> list[str]:
        """Give the address of every link."""
        return [value for name, value in self.values if name == "href"]


@pytest.mark.parametrize(
    ("axes", "outline"),
    [
        ({}, ["a", "b", "a"]),
        ({"prompt": ["a", "b"]}, ["prompt a", "prompt b", "prompt a"]),
        ({"prompt": ["a", "b"], "size": ["s"]}, ["prompt a", "prompt b", "prompt a"]),
        ({"prompt": ["a", "b"], "seed": [1, 2]}, ["#prompt a", "seed 1", "seed 2", "#prompt b", "seed 1"]),
        (
            {"prompt": ["a", "b"], "size": ["s", "m"], "seed": [1, 2]},
            ["#prompt a", "#size s", "seed 1", "#size m", "seed 2", "#prompt b", "#size s", "seed 1"],
        ),
        ({"other": [1, 2], "size": ["s", "m"]}, ["#other -", "size s", "size s", "size m"]),
    ],
)
def test_axes_group_the_pictures(tmp_path: Path, axes: dict[str, list[Any]], outline: list[str]) -> None:
    """Headings and labels follow the axes with a choice, though an earlier sweep's items stand between."""
    for line, (prompt, size, seed) in enumerate([("a", "s", 1), ("b", "s", 1), ("a", "m", 2)], 1):
        save(tmp_path, line, f"{line}.png", prompt=prompt, size=size, seed=seed)
    found = Reading(page(tmp_path, axes))
    shown = [("#" * (name in ("h2", "h3"))) + text for name, text in found.blocks if name in ("h2", "h3", "label")]
    assert [text.strip() for text in shown] == outline


@pytest.mark.parametrize(("name", "href"), ODD_NAMES)
def test_odd_names_are_only_ever_files(tmp_path: Path, name: str, href: str) -> None:
    """No name becomes a query, a fragment or a scheme; the picture and both links lead to it."""
    save(tmp_path, 1, name, prompt="x")
    found = Reading(page(tmp_path))
    assert found.hrefs()[:2] == [href, href]
    assert ("src", href) in found.values


@pytest.mark.parametrize("id", ["id", "../id", ":#?", "x" * 300, "\0", "\ud800"])
@pytest.mark.parametrize("place", ["", "sub/"])
def test_a_sidecar_is_linked_where_there_is_one(tmp_path: Path, id: str, place: str) -> None:
    """It lies beside the first file; an id that can name no file is no obstacle."""
    save(tmp_path, 1, f"{place}a.png", item=("", "a/b", id))
    if id == "id":
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / "id.cometrep.json").touch()
    found = Reading(page(tmp_path))
    expected = [f"./{place}id.cometrep.json"] if id == "id" else []
    assert [href for href in found.hrefs() if href.endswith(".json")] == expected
    assert found.texts("a").count("sidecar") == len(expected)


def test_one_item_has_a_tile_for_each_picture_and_links_to_the_rest(tmp_path: Path) -> None:
    """Text beside pictures is linked, not shown."""
    save(tmp_path, 1, "a.png", "a.json", "b.webp", "b.TXT", "c")
    found = Reading(page(tmp_path))
    assert [value for name, value in found.values if name == "src"] == ["./a.png", "./b.webp"]
    assert found.texts("facts") == ["seed 7 · 6.1 s · 1 of 2", "seed 7 · 6.1 s · 2 of 2"]
    assert [text for text in found.texts("a") if text] == ["file", "json", "TXT", "other"] * 2
    assert "2 pictures of 1 item" in found.texts("p")[0]


def texts(*, limit: int = 60) -> st.SearchStrategy[str]:
    """Give any text, and such as HTML, JavaScript, URLs and this page's template have a meaning for."""
    marks = ["<", ">", '"', "'", "&", "&lt;", "&#60;", "</dd>", "<script>", "<!--", "]]>", "{sections}", "{", "}"]
    marks += [
        "javascript:",
        "::",
        "##[",
        "\n",
        "\r\n",
        "\r",
        "\0",
        "\x85",
        "\u2028",
        "\u202e",
        "\ud800",
        "#",
        "%",
        "`",
    ]
    pieces = st.lists(st.sampled_from(marks), min_size=1, max_size=9).map("".join)
    return st.one_of(st.text(min_size=1, max_size=limit), pieces)


@settings(max_examples=60)
@given(
    prompt=texts(),
    key=texts(),
    model=texts(),
    axis=texts().filter(lambda axis: axis not in ("prompt", "seed")),
    value=texts(),
    name=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40).map("n{}n.png".format),
)
@example(prompt=HOSTILE, key=HOSTILE, model=HOSTILE, axis=HOSTILE, value=HOSTILE, name=f"n{HOSTILE}.png")
def test_no_text_leaves_its_element(prompt: str, key: str, model: str, axis: str, value: str, name: str) -> None:
    """Whatever the texts are, the page has a plain one's tags and attributes, and shows each text in its place."""

    def shown(text: str, limit: int = 1000) -> str:
        text = text if len(text) <= limit else text[:limit] + "…"
        return harmless(text.replace("\r\n", "\n"), keeps_lines=True)

    def read(prompt: str, key: str, model: str, axis: str, value: str, name: str) -> Reading:
        with tempfile.TemporaryDirectory() as folder:
            values: dict[str, Any] = {"prompt": prompt, axis: value}
            save(Path(folder), 1, name, item=(key, model, "id"), **values)
            return Reading(page(Path(folder), {"prompt": [0, 1], axis: [0, 1]}))

    found, plain = read(prompt, key, model, axis, value, name), read("p", "k", "m", "x", "y", "n.png")
    assert found.tags == plain.tags
    assert found.texts("script", "style") == plain.texts("script", "style")
    assert found.texts("dt") == ["prompt", shown(axis), "model", "key", "prediction"]
    assert found.texts("dd") == [*map(shown, (prompt, value, model, key)), "id"]
    assert found.texts("h2") == [f"prompt {shown(prompt)}"]
    assert found.texts("label") == [f"{shown(axis)} {shown(value)}"]
    assert ("alt", shown(f"{axis} {value}: {prompt}", 200)) in found.values
    assert found.texts("p")[0] == shown(f"1 picture of 1 item · {model} · newest 2001-09-09 01:46 UTC")
    address = urlsplit(found.hrefs()[0])
    assert (address.scheme, address.netloc, address.query, address.fragment) == ("", "", "", "")
    assert unquote_to_bytes(address.path) == os.fsencode(f"./{name}")


def test_a_picture_of_another_locale_is_linked_by_its_name_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that resumes where the locale has not its characters does not end over the page."""
    save(tmp_path, 1, "żaba.png")
    monkeypatch.setattr(os, "fsencode", lambda path: os.fspath(path).encode("latin-1"))
    monkeypatch.setattr(os, "fsdecode", lambda content: content.decode("latin-1"))
    assert page(tmp_path).count('href="./%C5%BCaba.png"') == 2


def test_a_page_is_written_where_the_working_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """A batch that has run there to its end has its page."""
    monkeypatch.chdir(tmp_path)
    save(Path("pictures"), 1, "a.png")
    gallery = Gallery(Path("pictures"), {})
    request.getfixturevalue("gone")
    gallery.write()
    assert "<title>pictures" in Path("pictures/index.html").read_text("utf-8")


def test_an_upgrade_while_a_batch_runs_changes_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the page is made from may be gone from the package by then, or be another version's."""
    save(tmp_path, 1, "a.svg")
    gallery = Gallery(tmp_path, {})
    with monkeypatch.context() as upgraded:
        upgraded.setattr(Path, "read_text", lambda *_: (_ for _ in ()).throw(FileNotFoundError()))
        gallery.write()
    assert "a.svg" in (tmp_path / "index.html").read_text()


def test_another_page_stays_as_it_is(tmp_path: Path) -> None:
    """An index.html that cometrep did not write is not replaced; that is said once, and no page is told of."""
    save(tmp_path, 1, "a.png")
    (tmp_path / "index.html").write_text("mine")
    gallery = Gallery(tmp_path, {})
    with pytest.raises(errors.LocalFileError, match="stays as it is") as raised:
        gallery.write()
    save(tmp_path, 2, "b.png")
    gallery.write()
    assert raised.value.code == "file_exists"
    assert (tmp_path / "index.html").read_text() == "mine"
    assert gallery.told() == []


def test_an_own_page_is_replaced_by_the_next_run(tmp_path: Path) -> None:
    """A page of an earlier run is brought up to date, and so is one that a death left empty."""
    for line, before in enumerate([None, page, b""], 1):
        save(tmp_path, line, f"{line}.png")
        if isinstance(before, bytes):
            (tmp_path / "index.html").write_bytes(before)
        gallery = Gallery(tmp_path, {})
        gallery.write()
        assert Reading((tmp_path / "index.html").read_text("utf-8")).texts("facts") == ["seed 7 · 6.1 s"] * line
        assert gallery.told() == [f"  pictures: {tmp_path / 'index.html'}"]


@pytest.mark.parametrize("problem", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_a_page_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, problem: BaseException
) -> None:
    """Until the rename a reader has the old page; where that fails nothing is left, and the next write works."""
    save(tmp_path, 1, "a.png")
    gallery = Gallery(tmp_path, {})
    gallery.write()
    before, names = (tmp_path / "index.html").read_bytes(), sorted(tmp_path.iterdir())
    read: list[bytes] = []

    def fail(*_: object) -> None:
        read.append((tmp_path / "index.html").read_bytes())
        raise problem

    save(tmp_path, 2, "b.png")
    with monkeypatch.context() as patched:
        patched.setattr(step, fail)
        with pytest.raises(errors.LocalFileError if isinstance(problem, OSError) else KeyboardInterrupt):
            gallery.write()
    assert [*read, (tmp_path / "index.html").read_bytes()] == [before, before]
    assert sorted(tmp_path.iterdir()) == names
    gallery.write()
    assert b"./b.png" in (tmp_path / "index.html").read_bytes()


def test_a_record_that_comes_later_is_named_by_the_next_page(tmp_path: Path) -> None:
    """Without a picture of its own too: the page is the one of reading from scratch."""
    gallery = Gallery(tmp_path, {})
    for shard, name in enumerate(("a.svg", "b.txt"), 1):
        save(tmp_path, shard, name, shard=(shard, 2))
        gallery.write()
    before = (tmp_path / "index.html").read_bytes()
    assert b'content="batch.1-2.jsonl batch.2-2.jsonl"' in before
    (tmp_path / "index.html").unlink()
    assert page(tmp_path).encode() == before


def test_nothing_is_written_that_stands_there(tmp_path: Path) -> None:
    """Without news, and from scratch with none, the file stays the very same one."""
    save(tmp_path, 1, "a.png")
    gallery = Gallery(tmp_path, {})
    gallery.write()
    before = (tmp_path / "index.html").stat()
    save(tmp_path, 2, "text.txt")
    for again in (gallery, gallery, Gallery(tmp_path, {})):
        again.write()
        after = (tmp_path / "index.html").stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    ("obstacle", "message"),
    [
        ("index.html", "stays as it is"),
        (".index.html.part", "cannot write"),
        ("batch.1-2.jsonl", "is no regular file"),
    ],
)
def test_a_folder_that_cannot_be_used_is_a_local_error(tmp_path: Path, obstacle: str, message: str) -> None:
    """A folder stands where a file should: root, too, cannot write or read that."""
    save(tmp_path, 1, "a.png")
    (tmp_path / obstacle).mkdir()
    with pytest.raises(errors.LocalFileError, match=message):
        Gallery(tmp_path, {}).write()


def test_a_folder_that_is_gone_is_a_local_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file takes the folder's place while the page is made."""
    folder = tmp_path / "out"
    save(folder, 1, "a.png")
    gallery = Gallery(folder, {})

    def make(draw: Callable[[], list[bytes]] = gallery._page) -> list[bytes]:
        shutil.rmtree(folder)
        folder.touch()
        return draw()

    monkeypatch.setattr(gallery, "_page", make)
    with pytest.raises(errors.LocalFileError, match="cannot write"):
        gallery.write()


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_shards_share_one_page(tmp_path: Path, order: tuple[int, ...]) -> None:
    """In the order of the batch's file; an item of two records has the newer result, in any order of reading."""
    steps: list[tuple[int, str, tuple[int, int] | None, float]] = [
        (1, "1.png", (1, 2), 10.0),
        (2, "2.png", (2, 2), 11.0),
        (1, "new.png", None, 12.0),
        (3, "3.png", (1, 2), 13.0),
    ]
    gallery = Gallery(tmp_path, {})
    for place in order:
        line, name, shard, time = steps[place]
        save(tmp_path, line, name, shard=shard, time=time)
        gallery.write()
    read = Reading((tmp_path / "index.html").read_text("utf-8"))
    assert [value for name, value in read.values if name == "src"] == ["./new.png", "./2.png", "./3.png"]
    assert read.texts("facts") == ["seed 7 · 6.1 s"] * 3


def test_a_page_of_more_is_not_replaced_by_an_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a shard saves its last picture and draws it between another one's look at the records and its page."""
    save(tmp_path, 1, "a.svg", shard=(1, 2))
    gallery = Gallery(tmp_path, {})

    def interrupted(path: Path, pieces: list[bytes]) -> None:
        monkeypatch.undo()
        save(tmp_path, 2, "b.svg", shard=(2, 2))
        assert "./b.svg" in page(tmp_path)
        write_whole(path, pieces)

    monkeypatch.setattr("cometrep.batch.gallery.write_whole", interrupted)
    gallery.write()
    assert "./b.svg" in (tmp_path / "index.html").read_text("utf-8")


def test_an_item_run_again_is_shown_once(tmp_path: Path) -> None:
    """With its newest result; where that is no picture, not at all."""
    gallery = Gallery(tmp_path, {})
    for names, shown in [(("a.png", "b.png"), ["./a.png", "./b.png"]), (("c.png",), ["./c.png"]), (("c.txt",), [])]:
        save(tmp_path, 1, *names, prompt=names[0])
        gallery.write()
        found = Reading((tmp_path / "index.html").read_text("utf-8"))
        assert [value for name, value in found.values if name == "src"] == shown
        assert found.texts("dd")[:1] == [names[0]] * bool(shown)


def test_a_time_that_no_clock_shows_stops_no_page(tmp_path: Path) -> None:
    """As in a record that somebody edited."""
    save(tmp_path, 1, "a.png", time=10.0**300)
    with (tmp_path / "batch.jsonl").open("a") as record:
        saved = {"step": "saved", "time": 10**400, "key": "k1", "files": [SavedFile("b.png", 0, 1, "00").as_json()]}
        record.write(json.dumps(saved, separators=(",", ":")) + "\n")
    assert "./b.png" in page(tmp_path)


def test_reading_on_gives_the_page_of_reading_from_scratch(tmp_path: Path) -> None:
    """Step by step, with a torn last line, or at once: the same bytes."""
    gallery = Gallery(tmp_path, {})
    for line in (2, 1, 3, 2):
        save(tmp_path, line, f"{line}.png", prompt=f"at {line}")
        gallery.write()
    with (tmp_path / "batch.jsonl").open("a") as file:
        file.write('{"step":"sav')
    gallery.write()
    before = (tmp_path / "index.html").read_text("utf-8")
    (tmp_path / "index.html").unlink()
    assert page(tmp_path) == before


def test_the_page_says_how_many_pictures_it_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last ones are left out."""
    monkeypatch.setattr("cometrep.batch.pictures.MOST_PICTURES", 2)
    for line in (3, 2, 1):
        save(tmp_path, line, f"{line}.png")
    shown = page(tmp_path)
    assert "1 more picture in the folder not shown" in shown
    assert "./3.png" not in shown


def test_without_a_picture_there_is_no_page(tmp_path: Path) -> None:
    """Text and sound make none."""
    save(tmp_path, 1, "a.txt", "a.mp3")
    gallery = Gallery(tmp_path, {})
    gallery.write()
    assert not (tmp_path / "index.html").exists()
    assert gallery.told() == []


# In a real browser

LOADED = """Promise.all([...document.querySelectorAll('figure img')].map(one => one.complete ||
    new Promise(done => { one.onload = one.onerror = done; })))"""
SMALL = """(selector => [...document.querySelectorAll(selector)].map(one => one.getBoundingClientRect())
    .filter(box => box.width && (box.width < 43.9 || box.height < 43.9)).length)"""
# The contrast of all text with what is behind it, as https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio has it.
CONTRAST = """(() => {
    const channels = (text) => [...text.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
    const over = (front, back, part) => front.map((value, at) => value * part + back[at] * (1 - part));
    const behind = (element) => {
        if (!element) return [255, 255, 255, 1];
        const colour = channels(getComputedStyle(element).backgroundColor);
        return colour[3] === 1 ? colour : over(colour, behind(element.parentElement), colour[3]);
    };
    const light = (colour) => colour.slice(0, 3).map(value => value / 255)
        .map(value => value <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4)
        .reduce((sum, value, at) => sum + value * [.2126, .7152, .0722][at], 0);
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const elements = [...document.querySelectorAll('img')];
    while (texts.nextNode()) if (texts.currentNode.data.trim()) elements.push(texts.currentNode.parentElement);
    return elements.filter(one => one.checkVisibility({ visibilityProperty: true })).map(one => {
        const style = getComputedStyle(one), back = behind(one.parentElement), part = Number(style.opacity);
        const pair = [over(channels(style.color), back, part), over(behind(one), back, part)].map(light);
        return [one.className || one.localName, (Math.max(...pair) + .05) / (Math.min(...pair) + .05)];
    });
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests here."""
    if not shutil.which("chromium"):
        pytest.skip("chromium is not installed")
    with Browser(tmp_path_factory.mktemp("browser") / "profile") as browser:
        yield browser


@pytest.fixture(params=["desktop", "phone"])
def screen(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page on a desktop and one on a phone, that asks for nothing but files."""
    is_phone = request.param == "phone"
    with browser.page(390 if is_phone else 1200, 800, is_phone=is_phone) as screen:
        yield screen
        assert [url for url in screen.requested() if not url.startswith("file:")] == []


def save_many(folder: Path, count: int) -> None:
    """Note many items, each with a picture that is there, at once."""
    (folder / "0.svg").write_bytes(SVG)
    with (folder / "batch.jsonl").open("w") as record:
        for line in range(count):
            sent = {"step": "sending", "key": f"k{line}", "line": line, "model": "a/b", "input": {"prompt": "x"}}
            files = [SavedFile(f"{line}.svg", 0, len(SVG), "00").as_json()]
            for step in (sent, {"step": "saved", "key": f"k{line}", "id": "id", "files": files}):
                record.write(json.dumps(step, separators=(",", ":")) + "\n")
            if line:
                os.link(folder / "0.svg", folder / f"{line}.svg")
    page(folder)


def test_keys_open_and_close_the_large_picture(tmp_path: Path, screen: Page) -> None:
    """Arrow, Enter, arrow, Escape: the focus returns to the picture last shown; the console stays silent."""
    save_many(tmp_path, 3)
    screen.open(tmp_path / "index.html")
    for key in ("ArrowRight", "Enter", "ArrowRight", "Escape"):
        screen.press(key)
    screen.evaluate("new Promise(done => setTimeout(done))")
    assert screen.evaluate("document.activeElement.href").endswith("/1.svg")
    assert screen.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert screen.complaints() == []


def test_keys_begin_where_the_reader_is(tmp_path: Path, screen: Page) -> None:
    """From the tile that has the focus, be it in its inputs, else from the first picture in view."""
    save_many(tmp_path, 300)
    screen.open(tmp_path / "index.html")

    def pressed(key: str) -> int:
        screen.press(key)
        return int(Path(urlsplit(screen.evaluate("document.activeElement.href ?? ''")).path).stem or -1)

    middle = "(box => box.top + box.height / 2)(one.getBoundingClientRect())"
    for key in ("ArrowRight", "ArrowLeft"):
        screen.evaluate("document.activeElement.blur(), links[200].scrollIntoView({ block: 'start' })")
        screen.settle()
        seen = screen.evaluate(f"links.findIndex(one => {middle} > 0)")
        assert seen > 190
        assert pressed(key) == seen
    for key, by in {"ArrowRight": 1, "ArrowLeft": -1, "Home": -100, "End": 199}.items():
        screen.evaluate("document.querySelectorAll('summary')[100].focus()")
        assert pressed(key) == 100 + by
    screen.evaluate("document.querySelectorAll('summary')[100].focus()")
    assert pressed("ArrowDown") > 100
    screen.evaluate("document.activeElement.blur()")
    assert pressed("End") == -1  # it scrolls
    assert screen.complaints() == []


def test_pictures_of_odd_names_are_shown(tmp_path: Path, screen: Page) -> None:
    """Whatever bytes a name holds, the browser finds the file, small and large."""
    for line, (name, _) in enumerate(ODD_NAMES):
        (tmp_path / name).write_bytes(SVG)
        save(tmp_path, line, name, prompt=HOSTILE, item=(HOSTILE + str(line), HOSTILE, "id"))
    page(tmp_path, {"prompt": [1, 2], HOSTILE: [1, 2]})
    screen.open(tmp_path / "index.html")
    screen.evaluate("document.querySelectorAll('img').forEach(one => { one.loading = 'eager'; })")
    screen.evaluate(LOADED)
    count = "[...document.querySelectorAll('figure img')].filter(one => one.naturalWidth > 0).length"
    assert screen.evaluate(count) == len(ODD_NAMES)
    for _ in ODD_NAMES:
        screen.evaluate(
            "(document.querySelector('dialog[open] .on') ?? document.querySelector('figure > a')).click()"
        )
        large = (
            "document.querySelector('.stage img').decode().then(() => document.querySelector('.place').innerText)"
        )
        assert screen.evaluate(large).endswith(f"of {len(ODD_NAMES)}")
    assert screen.evaluate("window.x === undefined")
    assert screen.complaints() == []


def test_a_long_name_of_an_input_is_broken_over_lines(tmp_path: Path, screen: Page) -> None:
    """Nothing beside it is cut off with it."""
    inputs: dict[str, Any] = {"a" * 150: "x"}
    save(tmp_path, 1, "a.png", prompt="p", **inputs)
    page(tmp_path)
    screen.open(tmp_path / "index.html")
    screen.evaluate("document.querySelector('summary').click()")
    assert screen.evaluate("document.querySelector('dt').clientHeight > 0")
    assert screen.evaluate(
        "[...document.querySelectorAll('figure')].every(one => one.scrollWidth <= one.clientWidth)"
    )


def test_a_long_prompt_is_cut_between_two_lines(tmp_path: Path, screen: Page) -> None:
    """In headings and beneath pictures, where no part of a third line shows."""
    for line in range(4):
        values: dict[str, Any] = {name: f"{name} {line >> place & 1} " * 40 for place, name in enumerate("abc")}
        save(tmp_path, line, f"{line}.svg", **values)
    page(tmp_path, {name: [1, 2] for name in "cba"})
    screen.open(tmp_path / "index.html")
    lines = "one.clientHeight / parseFloat(getComputedStyle(one).lineHeight)"
    found = screen.evaluate(f"[...document.querySelectorAll('h2, h3, .label')].map(one => {lines})")
    assert len(found) == 7
    assert {round(count, 1) for count in found} <= {1, 2}
    assert 2 in {round(count, 1) for count in found}


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_all_text_can_be_read(tmp_path: Path, screen: Page, scheme: str) -> None:
    """A contrast of at least 4.5 on the page, its headings and links, and in the large picture's panel."""
    save(tmp_path, 1, "a.png", "a.txt", prompt="p", seed=1, size="s")
    save(tmp_path, 2, "b.png", prompt="p", seed=2, size="s")
    page(tmp_path, {"prompt": [1, 2], "size": [1, 2], "seed": [1, 2]})
    screen.prefer(scheme)
    screen.open(tmp_path / "index.html")
    screen.evaluate("document.querySelector('summary').click()")
    on_page = screen.evaluate(CONTRAST)
    screen.evaluate("document.querySelector('figure > a').click()")
    enlarged = screen.evaluate(CONTRAST)
    assert {"h1", "img", "b", "span", "facts", "a", "summary", "dt", "dd"} <= {name for name, _ in on_page}
    assert {"img", "place", "a", "dt", "dd", "on", "close"} <= {name for name, _ in enlarged}
    assert [(name, ratio) for name, ratio in on_page + enlarged if ratio < 4.5] == []
    is_dark = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(part => part < 99)"
    assert screen.evaluate(is_dark) == (scheme == "dark")


@pytest.mark.parametrize(
    ("markup", "directive"),
    [
        ("<p id=bad onclick='window.x = 1'>x</p>", "script-src-attr"),
        ("<img id=bad src='data:,' onerror='window.x = 1'>", "script-src-attr"),
        ("<a id=bad href='javascript:window.x = 1'>x</a>", "script-src-elem"),
        ("<iframe id=bad src='data:text/html,<script>parent.x = 1</script>'></iframe>", "frame-src"),
        ("<p id=bad style='position: fixed; inset: 0'>x</p>", "style-src-attr"),
        ("<form action='https://x.invalid/'><button id=bad>x</button></form>", "form-action"),
        ("<img id=bad src='https://x.invalid/x.png'>", "img-src"),
    ],
)
def test_the_policy_stops_what_no_text_should_become(
    tmp_path: Path, browser: Browser, markup: str, directive: str
) -> None:
    """Were an element to come from a text all the same, its handler, script or address would do nothing."""
    save(tmp_path, 1, "a.svg")
    page(tmp_path)
    with browser.page() as screen:
        screen.open(tmp_path / "index.html")
        stopped = f"""new Promise(done => {{
            document.addEventListener('securitypolicyviolation', event => done(event.effectiveDirective));
            document.body.insertAdjacentHTML('afterbegin', {markup!r});
            document.querySelector('#bad').click();
        }})"""
        assert screen.evaluate(stopped) == directive
        assert screen.evaluate("window.x === undefined")


def test_targets_are_large_and_a_finger_turns_pages(tmp_path: Path, screen: Page) -> None:
    """The buttons of the large picture have 44 pixels everywhere; on a phone the links do too, and it swipes."""
    save_many(tmp_path, 3)
    screen.open(tmp_path / "index.html")
    is_phone = screen.evaluate("matchMedia('(pointer: coarse)').matches")
    assert not is_phone or screen.evaluate(f"{SMALL}('figure :is(a, summary)')") == 0
    screen.evaluate("document.querySelector('figure > a').click()")
    screen.evaluate("document.querySelector('.on').click()")
    screen.evaluate("document.querySelector('.stage img').decode()")
    assert (
        screen.evaluate("[...document.querySelectorAll('dialog button')].filter(one => !one.disabled).length") == 3
    )
    assert screen.evaluate(f"{SMALL}('dialog button')") == 0
    if is_phone:
        assert screen.evaluate(f"{SMALL}('dialog .links a')") == 0
        screen.swipe((300, 200), (100, 210))
        assert screen.evaluate("document.querySelector('.place').textContent") == "3 of 3"


def test_five_thousand_pictures_load_as_they_come_into_view(tmp_path: Path, screen: Page) -> None:
    """At first few, and more where it is scrolled to; never all."""
    save_many(tmp_path, 5000)
    screen.open(tmp_path / "index.html")
    counts = [0]
    for place in (0, 2500, 4999):
        screen.evaluate(f"window.one = document.querySelectorAll('figure img')[{place}], one.scrollIntoView()")
        screen.evaluate("one.complete || new Promise(done => { one.onload = done; })")
        assert screen.evaluate("one.naturalWidth > 0")
        counts.append(len(screen.requested()))
    assert counts == sorted(set(counts))
    assert counts[-1] < 1000


def test_the_working_folder_may_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch in another folder needs it for nothing."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    save(tmp_path, 1, "cat.png")
    assert "cat.png" in page(tmp_path)
    assert Gallery(Path("pictures"), {}).told() == []
