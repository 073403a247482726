"""What a prediction of the sandbox is at a moment: its model's rules, its record, and both shapes of its reply."""

import hashlib
import json
import math
import random
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

_END_OF_TIME = 1e11  # in seconds since the epoch, so that twice as much is a date that Python can write
RETENTION_SECONDS = 3600.0  # Replicate removes what an API-made prediction holds after one hour

# The models are a table of its own, so that a slip in the client's catalog shows here instead of agreeing. An
# input is `name`, `name:kind`, `name:kind:low..high` or `name=a|b`; `*` marks a required one, `~` is a space.
_RATIOS = "1:1|16:9|3:2|2:3|4:5|5:4|9:16"
_ALL_RATIOS = f"{_RATIOS}|3:4|4:3|21:9|9:21"
_SIDES = "width:integer:256..{0} height:integer:256..{0}"
_PROMPT = "prompt* seed:integer"
_FILES = "output_format=webp|jpg|png output_quality:integer:0..100"
_OPEN = f"{_PROMPT} {_FILES} go_fast:boolean disable_safety_checker:boolean"
_FLUX = f"{_OPEN} aspect_ratio={_ALL_RATIOS} num_outputs:integer:1..4 megapixels=1|0.25"
_STEPS = "num_inference_steps:integer"
_STRENGTH = "image:uri prompt_strength:number:0..1"
_SAFETY = "safety_tolerance:integer"
_UPSAMPLING = "prompt_upsampling:boolean"
_PRO = (
    f"{_PROMPT} {_FILES} {_SAFETY}:1..6 {_UPSAMPLING} image_prompt:uri {_SIDES.format(1440)} "
    f"aspect_ratio=custom|{_RATIOS}|3:4|4:3"
)
_ULTRA = (
    f"{_PROMPT} aspect_ratio raw:boolean image_prompt:uri image_prompt_strength:number:0..1 "
    f"{_SAFETY}:1..6 output_format=jpg|png"
)
_REFERENCES = "input_image:uri input_image_2:uri input_image_3:uri input_image_4:uri"
_KONTEXT = (
    f"{_PROMPT} {_REFERENCES} {_SAFETY}:0..6 aspect_ratio=match_input_image|{_ALL_RATIOS}|2:1|1:2 "
    f"{_UPSAMPLING} output_format=jpg|png"
)
_KONTEXT_DEV = "input_image*:uri aspect_ratio guidance:number:0..10"
_FLUX_2 = (
    f"{_PROMPT} {_FILES} {_SAFETY}:1..5 aspect_ratio=match_input_image|custom|{_ALL_RATIOS} "
    f"{_SIDES.format(2048)} resolution=match_input_image|0.5~MP|1~MP|2~MP|4~MP"
)
_FLEX = f"input_images:array:..10 steps:integer:1..50 guidance:number:1.5..10 {_UPSAMPLING}"
_FLUX_2_DEV = (
    f"{_OPEN} input_images:array:..4 {_SIDES.format(1440)} aspect_ratio=match_input_image|custom|{_RATIOS}|3:4|4:3"
)
_SD_3 = f"{_STRENGTH} negative_prompt seed:integer output_format=webp|jpg|png"
_SD_3_ONLY = (
    f"prompt aspect_ratio={_RATIOS}|21:9|9:21 cfg:number:0..20 steps:integer:1..28 output_quality:integer:0..100"
)
_SDXL = (
    f"prompt negative_prompt seed:integer {_STRENGTH} mask:uri width:integer height:integer "
    "num_outputs:integer:1..4 num_inference_steps:integer:1..500 guidance_scale:number:1..50 "
    "refine_steps:integer high_noise_frac:number:0..1 lora_scale:number:0..1 apply_watermark:boolean "
    "disable_safety_checker:boolean refine=no_refiner|expert_ensemble_refiner|base_image_refiner "
    "scheduler=DDIM|DPMSolverMultistep|HeunDiscrete|KarrasDPM|K_EULER_ANCESTRAL|K_EULER|PNDM"
)
_IDEOGRAM = (
    f"{_PROMPT} negative_prompt resolution image:uri mask:uri magic_prompt_option=Auto|On|Off "
    "style_type=None|Auto|General|Realistic|Design|Render~3D|Anime "
    "aspect_ratio=1:1|16:9|9:16|4:3|3:4|3:2|2:3|16:10|10:16|3:1|1:3"
)
# Name, form of the output, format of its files, steps in the logs (0: logs without percentages), inputs.
_MODELS_TEXT = f"""
black-forest-labs/flux-schnell list webp 4 {_FLUX} {_STEPS}:1..4
black-forest-labs/flux-dev list webp 28 {_FLUX} {_STRENGTH} {_STEPS}:1..50 guidance:number:0..10
black-forest-labs/flux-pro one webp 0 {_PRO} steps:integer:1..50 guidance:number:2..5 interval:number:1..4
black-forest-labs/flux-1.1-pro one webp 0 {_PRO}
black-forest-labs/flux-1.1-pro-ultra one jpg 0 {_ULTRA}
black-forest-labs/flux-kontext-pro one png 0 {_KONTEXT}
black-forest-labs/flux-kontext-max one png 0 {_KONTEXT}
black-forest-labs/flux-kontext-dev one webp 28 {_OPEN} {_STEPS}:4..50 {_KONTEXT_DEV}
black-forest-labs/flux-2-pro one webp 0 {_FLUX_2} input_images:array:..8
black-forest-labs/flux-2-max one webp 0 {_FLUX_2} input_images:array:..8
black-forest-labs/flux-2-flex one webp 0 {_FLUX_2} {_FLEX}
black-forest-labs/flux-2-dev one webp 0 {_FLUX_2_DEV}
stability-ai/sdxl list png 50 {_SDXL}
stability-ai/stable-diffusion-3.5-medium one webp 40 prompt* {_SD_3} aspect_ratio cfg:number:1..10
stability-ai/stable-diffusion-3 list webp 28 {_SD_3} {_SD_3_ONLY}
ideogram-ai/ideogram-v2 one png 0 {_IDEOGRAM}
ideogram-ai/ideogram-v2-turbo one png 0 {_IDEOGRAM}
recraft-ai/recraft-v3 one webp 0 prompt* size style
"""


@dataclass(frozen=True, slots=True)
class _Rule:
    kind: str  # of JSON, or `uri`; an array is one of URIs
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class _Model:
    gives_list: bool
    extension: str
    steps: int
    rules: Mapping[str, _Rule]


def _rule(text: str) -> tuple[str, _Rule]:
    pattern = r"(\w+)(\*?)(?:=(\S+)|:(\w+)(?::([\d.]*?)\.\.([\d.]+))?)?"
    name, star, choices, kind, low, high = re.findall(pattern, text)[0]
    words = tuple(choices.replace("~", " ").split("|")) if choices else ()
    return name, _Rule(kind or "string", float(low or "-inf"), float(high or "inf"), words, bool(star))


@cache
def models() -> Mapping[str, _Model]:
    rows = [line.split() for line in _MODELS_TEXT.strip().splitlines()]
    return {row[0]: _Model(row[1] == "list", row[2], int(row[3]), dict(map(_rule, row[4:]))) for row in rows}


def _problems(where: str, rule: _Rule, value: Any) -> Iterator[str]:
    """Yield what is wrong with one input, in the words of Replicate's validator (gojsonschema)."""
    names = {bool: "boolean", str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    whole = isinstance(value, float) and value.is_integer()  # 4.0 is an integer there
    kind = "integer" if whole else names.get(type(value), "null")
    expected = "string" if rule.kind == "uri" else rule.kind
    if kind != expected and (kind, expected) != ("integer", "number"):
        yield f"{where}: Invalid type. Expected: {expected}, given: {kind}"
    elif kind == "array":
        if len(value) > rule.high:
            yield f"{where}: Array must have at most {rule.high:g} items"
        for index, item in enumerate(value):
            yield from _problems(f"{where}.{index}", _Rule("uri"), item)
    elif rule.choices and value not in rule.choices:
        allowed = ", ".join(f'"{choice}"' for choice in rule.choices)
        yield f"{where}: {where} must be one of the following: {allowed}"
    elif rule.kind == "uri" and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", value):
        yield f"{where}: Does not match format 'uri'"
    elif kind in ("integer", "number") and value < rule.low:
        yield f"{where}: Must be greater than or equal to {rule.low:g}"
    elif kind in ("integer", "number") and value > rule.high:
        yield f"{where}: Must be less than or equal to {rule.high:g}"


def problems(name: str, given: Mapping[str, Any]) -> list[str]:
    """List what is wrong with the input of a model; inputs that the model does not have are ignored."""
    rules = models()[name].rules
    found = [f"input: {key} is required" for key in rules if rules[key].is_required and key not in given]
    for key in rules.keys() & given.keys():
        found += _problems(f"input.{key}", rules[key], given[key])
    return sorted(found)


@dataclass(frozen=True, slots=True)
class Record:
    """One prediction: whatever is said or drawn of it follows from this."""

    id: str
    model: str
    input: Mapping[str, Any]
    created: float
    seconds: float
    fingerprint: str  # of model and input: names the pictures in the cache
    prompt: str
    ending: str  # the word after `sandbox:`, or ""
    seed: int
    files: int
    gives_list: bool
    steps: int
    extension: str
    quality: int
    size: Sequence[int]

    @property
    def started(self) -> float:
        return self.created + 0.1 * self.seconds

    @property
    def completed(self) -> float:
        return self.created + self.seconds

    def status(self, now: float) -> str:
        if now >= self.completed:
            ends = {"fail": "failed", "cancel": "canceled", "abort": "aborted"}
            return "failed" if self.ending == "nsfw" and not self.files else ends.get(self.ending, "succeeded")
        return "starting" if now < self.started or self.ending == "abort" else "processing"

    def is_removed(self, now: float) -> bool:
        return now >= self.completed + RETENTION_SECONDS

    def has_output(self, now: float) -> bool:
        return self.status(now) == "succeeded" and not self.is_removed(now)


_ENDING = re.compile(r"sandbox:(fail|cancel|abort|nsfw|empty|text)\b")


def record_of(id: str, kept: Mapping[str, Any]) -> Record:
    """Work out a prediction from what is kept of it; raise ValueError, TypeError or KeyError for a damaged one."""
    name, given, created, seconds = (kept[key] for key in ("model", "input", "created", "seconds"))
    is_sound = isinstance(given, dict) and name in models() and not problems(name, given)
    if is_sound and 0 <= created < _END_OF_TIME and 0 <= seconds < _END_OF_TIME:
        return new_record(name, given, created, seconds, id=id)
    raise ValueError(f"what is kept of {id} is no prediction")


def new_record(name: str, given: Mapping[str, Any], now: float, seconds: float, *, id: str = "") -> Record:
    """Make the prediction of an input in which there are no problems; `seconds` is its length, but for a fifth."""
    model = models()[name]
    known = {key: value for key, value in given.items() if key in model.rules}
    fingerprint = hashlib.sha256(json.dumps([name, given], sort_keys=True).encode())
    chance = random.Random(fingerprint.digest())
    prompt = known.get("prompt", "An astronaut riding a rainbow unicorn" if name == "stability-ai/sdxl" else "")
    asked, ending = int(known.get("num_outputs", 1)), _ENDING.search(prompt)
    word = ending[1] if ending else ""
    return Record(
        id=id or new_id(now),
        model=name,
        input=given,
        created=now,
        seconds=seconds * chance.uniform(0.8, 1.2),
        fingerprint=fingerprint.hexdigest(),
        prompt=prompt,
        ending=word,
        seed=int(known.get("seed", chance.getrandbits(32))),
        files={"empty": 0, "text": 0, "nsfw": asked - 1}.get(word, asked),
        gives_list=model.gives_list,
        steps=model.steps and int(known.get("num_inference_steps", known.get("steps", model.steps))),
        extension=known.get("output_format", model.extension),
        quality=int(known.get("output_quality", 80)),
        size=_size(known, has_ratio="aspect_ratio" in model.rules),
    )


def _size(known: Mapping[str, Any], *, has_ratio: bool) -> tuple[int, int]:
    """Work out width and height: about one megapixel where the input says nothing else."""
    ratio, resolution = str(known.get("aspect_ratio")), str(known.get("resolution", known.get("size")))
    if exact := re.fullmatch(r"(\d{2,4})x(\d{2,4})", resolution):
        width, height = int(exact[1]), int(exact[2])
    elif ratio == "custom" or not has_ratio:
        width, height = int(known.get("width", 1024)), int(known.get("height", 1024))
    else:
        sides = re.fullmatch(r"([1-9]\d{0,2}):([1-9]\d{0,2})", ratio)
        shape = min(4.0, max(0.25, int(sides[1]) / int(sides[2]))) if sides else 1.0
        wanted = re.fullmatch(r"(\d{1,4}(?:\.\d{1,4})?) MP", resolution, re.ASCII)
        area = 1024 * 1024 * float(wanted[1] if wanted else known.get("megapixels", 1))
        width, height = (int(math.sqrt(area * part)) // 32 * 32 for part in (shape, 1 / shape))
    return min(3072, max(64, width)), min(3072, max(64, height))


def new_id(now: float) -> str:
    """Make an id like Replicate's today: random but for a mark and, after it, the time to some two minutes."""
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
    ticks = max(0, int(now * 1000)) >> 17
    when = "".join(alphabet[ticks >> 5 * place & 31] for place in range(5, -1, -1))
    start, end = ("".join(secrets.choice(alphabet) for _ in range(count)) for count in (10, 7))
    return f"{start}r{secrets.choice('gjm')}{secrets.choice(alphabet[::2])}{when}{end}"


def stamp(moment: float, digits: int = 6) -> str:
    """Write a time as Go does, without closing zeros; recordings have nine digits in creates, six in gets."""
    whole = math.floor(moment)
    fraction = f".{int((moment - whole) * 1e9):09d}"[: digits + 1].rstrip("0").rstrip(".")
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"


def _logs(record: Record, now: float) -> str:
    """Write what the model has logged by now: tqdm's lines, or for models without steps the seed alone."""
    lasts, steps = max(0.9 * record.seconds, 0.001), record.steps
    done = steps if now >= record.completed else int(steps * max(0.0, now - record.started) / lasts)
    lines = [f"Using seed: {record.seed}"]
    shown = {*range(0, steps, max(1, steps // 25)), steps} if steps else ()
    for step in sorted(step for step in shown if step <= done):
        took, eighths = lasts * step / steps, step * 80 // steps
        bar = "█" * (eighths // 8) + ("", *"▏▎▍▌▋▊▉")[eighths % 8]
        past, left = (f"{int(part) // 60:02d}:{int(part) % 60:02d}" for part in (took, lasts - took))
        pace = f"{left}, {step / took:5.2f}it/s" if step else "?, ?it/s"
        lines.append(f"{step * 100 // steps:3d}%|{bar:10}| {step}/{steps} [{past}<{pace}]")
    if now >= record.completed and record.ending in ("", "nsfw"):
        if not steps:
            lines.append(f"Generated image in {lasts:.1f}sec")
        if record.ending:
            lines.append(f"NSFW content detected in image {record.files}")
        if record.files:
            lines.append(f"Total safe images: {record.files} out of {record.files + bool(record.ending)}")
    return "\n".join(lines) + "\n"


def _output(record: Record, base: str) -> object:
    if record.ending in ("text", "empty"):
        words = f"A reply of the sandbox to: {record.prompt}"
        return re.findall(r"\s*\S+", words) if record.ending == "text" else None
    urls = [f"{base}/files/{record.id}/out-{index}.{record.extension}" for index in range(record.files)]
    return urls if record.gives_list else urls[0]


_FLAGGED = "The input or output was flagged as sensitive. Please try again with different inputs. (E005)"
_FILTERED = "All generated images contained NSFW content. Try running it again with a different prompt."


def prediction(record: Record, now: float, base: str) -> dict[str, Any]:
    """Build the bare reply: a pure function of the record, the time and the address that was asked."""
    status, is_removed = record.status(now), record.is_removed(now)
    has_started, has_ended = status not in ("starting", "aborted"), now >= record.completed
    api = f"https://api.replicate.com/v1/predictions/{record.id}"
    reply: dict[str, Any] = {
        "id": record.id,
        "model": record.model,
        "version": "hidden",
        "input": {} if is_removed else record.input,
        "logs": _logs(record, now) if has_started and not is_removed else "",
        "output": _output(record, base) if record.has_output(now) else None,
        "data_removed": is_removed,
        "error": None,
        "source": "api",
        "status": status,
        "created_at": stamp(record.created),
        "urls": {  # the gateway's own at Replicate, as on CometAPI's page: of no use to a client
            "cancel": f"{api}/cancel",
            "get": api,
            "stream": f"https://stream.replicate.com/v1/files/{record.fingerprint[:40]}",
            "web": f"https://replicate.com/p/{record.id}",
        },
    }
    if has_started:
        reply["started_at"] = stamp(record.started)
    if has_ended:
        reply["completed_at"] = stamp(record.completed)
        reply["metrics"] = {"total_time": round(record.seconds, 6)}
    if has_started and has_ended:
        reply["metrics"]["predict_time"] = round(0.9 * record.seconds, 9)
    if status == "succeeded" and record.files:
        reply["metrics"]["image_count"] = record.files
    if status == "canceled":
        reply["logs"] = None  # as recorded in the cassettes of replicate-python
    if status == "failed":
        reply["error"] = _FILTERED if record.ending == "nsfw" else _FLAGGED
    return reply


def task(record: Record, now: float, base: str) -> dict[str, Any]:
    """Build the second shape of a look's reply: the gateway's task record around the prediction."""
    inner = prediction(record, now, base)
    status, output = inner["status"], inner["output"]
    words = {"starting": "QUEUED", "processing": "IN_PROGRESS", "succeeded": "SUCCESS"}
    part = max(0.0, now - record.created) / record.seconds if record.seconds else 1.0
    reason = inner["error"] or ("" if status in words else f"task {status}")
    if record.files and output:  # new-api has kept the address of the result in this field
        reason = output[0] if isinstance(output, list) else output
    record_of_task = {
        "id": int(record.id, 36) % 1_000_000_000,  # a row's number in the gateway's table, not the task's id
        "task_id": record.id,
        "platform": "replicate",
        "action": "generate",
        "status": words.get(status, "FAILURE"),
        "fail_reason": reason,
        "submit_time": int(record.created),
        "start_time": int(record.started) if status != "starting" else 0,
        "finish_time": int(record.completed) if now >= record.completed else 0,
        "progress": "0%" if status == "starting" else f"{int(min(1.0, part) * 100)}%",
        "data": inner if status != "starting" else None,
    }
    return {"code": "success", "message": "", "data": record_of_task}
