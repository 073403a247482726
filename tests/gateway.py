"""An API over real sockets that keeps count: which inputs were created how often, and what became of each."""

import threading
from collections import Counter
from collections.abc import Iterable

from tests.servers import WEBP, Answer, Received, Responder, Server, answer_json, picture, prediction


class Gateway:
    """Answer creates, looks and files of many predictions; each ends at its `looks`-th look."""

    def __init__(self, server: Server, *, looks: int = 1) -> None:
        self.server = server
        self.looks = looks
        self.creates: Counter[str] = Counter()  # accepted ones, by prompt
        self.most_running = 0
        self.refusals: dict[str, list[Responder]] = {}  # by prompt: what its first creates are answered
        self.ends: dict[str, str] = {}  # by prompt: another status to end in
        self.file_answers: dict[str, list[Answer]] = {}  # by prompt: what its first file requests are answered
        self.removed: set[str] = set()  # prompts whose outputs the API keeps no more
        self.files_each = 1  # that a prediction's output has
        self.holds = threading.Event()  # cleared: nothing ends
        self.holds.set()
        self.held: set[str] = set()  # prompts of those that do not end
        self._prompts: dict[str, str] = {}
        self._seen: Counter[str] = Counter()
        self._running: set[str] = set()
        self._lock = threading.Lock()
        server.on_create(self.create)
        server.on_get(self.look)
        server.on("GET", "/file/", self._file)

    @property
    def total(self) -> int:
        """How many creates were accepted."""
        return sum(self.creates.values())

    def id_of(self, prompt: str) -> str:
        """Give the id of a prompt's newest prediction."""
        return next(id for id in reversed(self._prompts) if self._prompts[id] == prompt)

    def create(self, request: Received) -> Answer:
        """Accept a create, or answer what its prompt's refusals say."""
        prompt = request.json()["input"]["prompt"]
        with self._lock:
            if script := self.refusals.get(prompt):
                responder = script.pop(0)
                return responder(request) if callable(responder) else responder
            number = len(self._prompts)
            id = f"item{number:022d}"
            self._prompts[id] = prompt
            self.creates[prompt] += 1
            self._running.add(id)
            self.most_running = max(self.most_running, len(self._running))
        return answer_json(prediction(id, "starting"), 201)

    def look(self, request: Received) -> Answer:
        """Show a prediction."""
        id = request.path.rpartition("/")[2]
        with self._lock:
            if id not in self._prompts:
                return answer_json({"detail": "not found"}, 404)
            prompt = self._prompts[id]
            self._seen[id] += 1
            if self._seen[id] < self.looks or not self.holds.is_set() or prompt in self.held:
                return answer_json(prediction(id, "processing"))
            self._running.discard(id)
        status = self.ends.get(prompt, "succeeded")
        if status != "succeeded":
            return answer_json(prediction(id, status, error="the model gave up"))
        if prompt in self.removed:
            return answer_json(prediction(id, output=None, data_removed=True))
        names = [id] if self.files_each == 1 else [f"{id}-{number}" for number in range(self.files_each)]
        output = [f"{self.server.url}/file/{name}.webp" for name in names]
        # As a task record does, it leaves out what the prediction was asked for.
        return answer_json(prediction(id, output=output, input=None, logs="Using seed: 77\n"))

    def _file(self, request: Received) -> Answer:
        id = request.path.rpartition("/")[2].removesuffix(".webp").partition("-")[0]
        with self._lock:
            if script := self.file_answers.get(self._prompts[id]):
                return script.pop(0)
        return Answer(body=picture(seed=int(id.removeprefix("item"))), headers=WEBP)


def json_lines(prompts: Iterable[str]) -> str:
    """Write a batch file with one prompt a line."""
    return "".join(f'{{"prompt": "{prompt}"}}\n' for prompt in prompts)
