"""Draw the sandbox's pictures: a landscape, the sea or a city, as the prompt and a hash choose."""

import contextlib
import hashlib
import io
import math
import os
import queue
import random
import re
import textwrap
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cometrep.sandbox.predictions import Record

if TYPE_CHECKING:
    from PIL import Image

_MARK = "cometrep sandbox · not a real picture"
_PALETTES = (  # sky at the top, in the middle and at the horizon; light; foreground
    "1b1b4b 7b3f7f f28c6a ffe3b0 1a1030",
    "3f78b8 a3c6e6 fbe3c8 fff6dd 1d3a4c",
    "0b3c49 2a7f8e d9efe0 fffbe6 06262e",
    "3b1c4a b0476c ffc4a3 fff0d0 240f2e",
    "20463a 6fa37b f1f0c9 fffde0 0f241d",
    "4a2c1a c9762f ffe2a0 fff6d8 2a150a",
    "050a1f 14264f 46679a f4f1d8 03060f",
)
_NIGHT = re.compile(r"\b(night|midnight|moon|stars?|dark)\b", re.IGNORECASE)
_SEA = re.compile(r"\b(sea|ocean|lighthouse|beach|ships?|boats?|waves?|island|whale|fish|lake|river)\b", re.I)
_CITY = re.compile(r"\b(city|town|streets?|houses?|towers?|buildings?|skyline|neon|cars?|robots?)\b", re.I)
_Colour = tuple[int, ...]


def _blend(first: _Colour, second: _Colour, part: float) -> _Colour:
    return tuple(round(a + (b - a) * part) for a, b in zip(first, second, strict=True))


@dataclass(frozen=True, slots=True)
class _Painter:
    """Paints the part below the sky; measures are in pixels of a canvas that is reduced afterwards."""

    pen: Any
    chance: random.Random
    width: int
    height: int
    horizon: _Colour
    light: _Colour
    near: _Colour

    def ridge(self, base: float, swing: float, turns: Sequence[float], tone: _Colour) -> list[tuple[float, float]]:
        """Paint a wavy silhouette down to the lower edge, and return its outline."""
        uniform, tau = self.chance.uniform, math.tau
        sines = [(count * uniform(0.7, 1.3), uniform(0, tau), 0.5**k) for k, count in enumerate(turns)]
        outline = []
        for x in range(0, self.width + 8, 8):
            wave = sum(part * math.sin(count * tau * x / self.width + phase) for count, phase, part in sines)
            outline.append((float(x), self.height * (base - swing * wave)))
        self.pen.polygon([(0, self.height), *outline, (self.width, self.height)], fill=tone)
        return outline

    def hills(self) -> None:
        for layer in range(5):
            tone = _blend(self.horizon, self.near, ((layer + 1) / 5) ** 0.9)
            outline = self.ridge(0.5 + 0.085 * layer, 0.12 - 0.012 * layer, (1.4, 2.9, 6.2, 13), tone)
            for x, y in self.chance.choices(outline, k=26 if layer >= 3 else 0):
                tall = self.height * self.chance.uniform(0.02, 0.05) * (0.5 + layer * 0.22)
                for tier in range(3):
                    half, foot = tall * (0.34 - 0.08 * tier), y + tall * (0.12 - 0.32 * tier)
                    tree = [(x - half, foot), (x + half, foot), (x, foot - tall * 0.62)]
                    self.pen.polygon(tree, fill=_blend(tone, self.near, 0.55))

    def sea(self, sun: float, radius: float) -> None:
        water, top = _blend(self.horizon, self.near, 0.3), 0.56 * self.height
        self.pen.rectangle((0, top, self.width, self.height), fill=water)
        for layer in range(1, 6):
            base, swing = 0.58 + 0.015 * layer + 0.012 * layer**2, 0.002 + 0.0022 * layer
            self.ridge(base, swing, (12 - 1.6 * layer, 19 - 2 * layer), _blend(water, self.near, layer / 5.5))
        for line in range(46):
            y, x = (
                top + self.height * (0.004 + 0.0082 * line),
                self.chance.gauss(sun, radius * (0.25 + line * 0.012)),
            )
            half = radius * self.chance.uniform(0.15, 0.9) * (1 - line * 0.012)
            tone = _blend(_blend(water, self.near, line / 50), self.light, 0.85 - line * 0.016)
            self.pen.line((x - half, y, x + half, y), fill=tone, width=max(1, self.height // 420))

    def city(self) -> None:
        cell, uniform = min(self.width, self.height) * 0.02, self.chance.uniform
        for layer in range(4):
            tone, left = _blend(self.horizon, self.near, (layer + 1) / 4), -0.02 * self.width
            lit = _blend(tone, self.light, 0.3 + 0.16 * layer)
            while left < self.width:
                right = left + uniform(0.035, 0.09) * self.width * (0.7 + layer * 0.15)
                top = self.height * (0.84 + layer * 0.03 - uniform(0.12, 0.45) * (1 - layer * 0.13))
                self.pen.rectangle((left, top, right, self.height), fill=tone)
                columns, rows = int((right - left) / cell - 0.6), int((self.height * 0.9 - top) / cell / 1.3)
                for spot in range(columns * rows if layer else 0):
                    x, y = left + cell * (0.6 + spot % columns), top + cell * (0.8 + 1.3 * (spot // columns))
                    if self.chance.random() < 0.3:
                        self.pen.rectangle((x, y, x + cell * 0.45, y + cell * 0.6), fill=lit)
                left = right + uniform(-0.01, 0.008) * self.width


class Studio:
    """What draws for many threads, in as many of its own as there are cores.

    A thread that has drawn keeps the memory of a picture, 15 MB, and each connection is a thread.
    """

    def __init__(self) -> None:
        self._ordered: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._is_closed = False

    def draw(self, record: Record, index: int) -> bytes:
        """Give one output file, as `draw` makes it; in this thread where there is no other."""
        order = _Order(record, index)
        with self._lock:
            if not self._is_closed and self._threads < (os.cpu_count() or 1):
                with contextlib.suppress(RuntimeError):  # the system gives no more
                    threading.Thread(target=self._work, daemon=True).start()
                    self._threads += 1
            is_ordered = self._threads > 0 and not self._is_closed
            if is_ordered:
                self._ordered.put(order)
        drawn = order.drawn.get() if is_ordered else draw(record, index)
        if isinstance(drawn, bytes):
            return drawn
        raise drawn

    def close(self) -> None:
        """Let the threads end, once they have drawn what was ordered; nothing waits for that."""
        with self._lock:
            self._is_closed = True
            for _ in range(self._threads):
                self._ordered.put(None)

    def _work(self) -> None:
        while order := self._ordered.get():
            try:
                order.drawn.put(draw(order.record, order.index))
            except BaseException as problem:  # noqa: BLE001 - handed to who ordered it, and waits for it
                order.drawn.put(problem)


@dataclass(frozen=True, slots=True)
class _Order:
    record: Record
    index: int
    drawn: "queue.SimpleQueue[bytes | BaseException]" = field(default_factory=queue.SimpleQueue)


def draw(record: Record, index: int) -> bytes:
    """Draw one output file; the same input gives the same bytes, from one version of Pillow."""
    from PIL import Image, ImageDraw

    key = f"{record.model}\0{record.prompt}\0{record.seed}\0{index}"
    chance = random.Random(hashlib.sha256(key.encode("utf-8", "replace")).digest())
    palette = _PALETTES[-1] if _NIGHT.search(record.prompt) else chance.choice(_PALETTES)
    top, middle, horizon, light, near = (tuple(bytes.fromhex(colour)) for colour in palette.split())
    width, height = record.size
    scale = 2 if width * height <= 1_600_000 else 1  # twice the size for smooth edges, if that is quick
    width, height = width * scale, height * scale

    sky = Image.new("RGB", (1, 5))
    for row, colour in enumerate((top, top, middle, horizon, horizon)):
        sky.putpixel((0, row), colour)
    quarter = sky.resize((width // 4, height // 4), Image.Resampling.BICUBIC)
    x, y = chance.uniform(0.2, 0.8) * width, chance.uniform(0.22, 0.42) * height
    radius = chance.uniform(0.05, 0.1) * min(width, height)
    fading = [int(200 * max(0.0, 1 - level / 180) ** 2.2) for level in range(256)]
    glow = Image.radial_gradient("L").point(fading)
    halo = glow.resize((max(1, int(2 * radius)), max(1, int(2 * radius))))
    quarter.paste(light, (int(x / 4 - radius), int(y / 4 - radius)), halo)
    picture = quarter.resize((width, height), Image.Resampling.BILINEAR)

    pen = ImageDraw.Draw(picture)
    for _ in range(90 if max(top) < 0x50 else 0):
        left, upper = chance.random() * width, chance.random() * height / 2
        size = chance.choice((1, 1, 2)) * scale
        tone = _blend(top, light, chance.uniform(0.3, 0.9))
        pen.ellipse((left, upper, left + size, upper + size), fill=tone)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=light)
    painter = _Painter(pen, chance, width, height, horizon, light, near)
    draw_lots = chance.random()
    if _CITY.search(record.prompt):
        painter.city()
    elif _SEA.search(record.prompt) or draw_lots < 0.3:
        painter.sea(x, radius)
    else:
        painter.hills()
    picture = picture.reduce(scale)
    _caption(picture, record.prompt, light)

    data = io.BytesIO()
    form = record.extension.replace("jpg", "jpeg")
    picture.save(data, form, quality=record.quality, method=2, compress_level=1)  # each format takes its own
    return data.getvalue()


def _caption(picture: "Image.Image", prompt: str, light: _Colour) -> None:
    """Write the prompt, and below it the mark that no picture of the sandbox is without."""
    from PIL import Image, ImageDraw, ImageFont

    width, height = picture.size
    unit = max(8, round(math.sqrt(width * height) / 42))
    # Pillow's own font is the one that is everywhere; it has no accents and nothing beyond Latin letters.
    words = unicodedata.normalize("NFKD", prompt).encode("ascii", "ignore").decode().split()
    lines = textwrap.wrap(" ".join(words), max(8, int((width / unit - 2) / 0.54)), max_lines=3, placeholder=" ...")
    foot, spacing = round(unit * 1.6), round(unit * 1.35)
    panel = foot + (spacing * len(lines) + unit if lines else 0)
    box = (0, height - panel, width, height)
    picture.paste(Image.blend(picture.crop(box), Image.new("RGB", (width, panel), (8, 8, 14)), 0.5), box)
    pen = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        where = (unit, height - panel + unit * 0.6 + row * spacing)
        pen.text(where, line, font=ImageFont.load_default(unit), fill=(255, 255, 255))
    pen.rectangle((0, height - foot, width, height), fill=(12, 12, 18))
    small = ImageFont.load_default(min(unit * 0.8, width * 1.8 / len(_MARK)))
    pen.text((width / 2, height - foot / 2), _MARK, font=small, fill=light, anchor="mm")
