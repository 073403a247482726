"""Carry a batch that is ready to its end: run it, and tell what is left and how to go on."""

import contextlib
from collections.abc import Iterator

from cometrep import errors, hints
from cometrep.api import Api
from cometrep.batch.command_line import resuming
from cometrep.batch.earlier import items_but, items_of, left_by_earlier_runs
from cometrep.batch.ending import commands_beside, outcome, tell_stop, told_of_doubts
from cometrep.batch.fate import Asked
from cometrep.batch.gallery import Gallery
from cometrep.batch.prepare import Ready
from cometrep.batch.run import Batch
from cometrep.batch.snapshot import comes_once
from cometrep.console import Console
from cometrep.console.board import summary_lines
from cometrep.console.stage import Results, Stage
from cometrep.events import BatchEnded
from cometrep.ledger import Ledger
from cometrep.pace import Pace
from cometrep.schedule import Patience
from cometrep.signals import finishing_first

_PIPED_AGAIN = "; the items are to be piped in again"


@contextlib.contextmanager
def telling_how_to_go_on(console: Console, file: str) -> Iterator[None]:
    """Say in a stop that came before the items were run, or behind that, which command goes on."""
    try:
        yield
    except errors.Stopped as stop:
        if not stop.hint:
            tell_stop(stop, 0, console.command_line)
            stop.message += _PIPED_AGAIN * comes_once(file)
        raise


def conduct(
    console: Console, ready: Ready, asked: Asked, api: Api, ledger: Ledger, *, patience: Patience, pace: Pace
) -> None:
    """Run a batch into its record and say how it ended; raise what it comes to where not all is done."""
    command, plan = console.command_line, ready.plan
    api.check_input(plan.model, {**plan.common(plan.model), **plan.axes})
    gallery = Gallery(ready.record.folder, plan.axes)
    batch = Batch(
        api,
        ledger,
        ready.record,
        ready.keeper.for_item,
        asked=asked,
        patience=patience,
        pace=pace,
        check_folders=ready.check_folders,
        publish=gallery.write,
    )
    try:
        ended, has_record = _run(console, batch, ready, ledger)
    except errors.Stopped as stop:
        tell_stop(stop, batch.in_doubt, command)
        stop.message += _PIPED_AGAIN * plan.is_piped
        raise
    failure = outcome(ended, command, was_stopped=batch.was_asked_to_stop)
    if failure and not has_record:  # the command would begin anew
        failure.hint = "cometrep list"
    commands = commands_beside(failure.hint if failure else "", ended, command) if has_record else []
    for line in [*summary_lines(ended), *(f"  {line}" for line in commands), *gallery.told()]:
        console.say(line)
    if console.choices.is_quiet and console.choices.progress != "json":
        for line in ended.first_failures:
            console.warn(line)
    if failure:
        failure.message += _PIPED_AGAIN * plan.is_piped
        raise failure


def _run(console: Console, batch: Batch, ready: Ready, ledger: Ledger) -> tuple[BatchEnded, bool]:
    """Open the record and run all items, shown on the console; warn of what may be wrong with either source.

    Give how it ended, and whether the record stands where the next run will look for it.
    """
    plan, record = ready.plan, ready.record
    what = "json" if console.choices.is_json else "path"
    results = Results(what, hints.Command(resuming(console.command_line)), is_batch=True)
    with contextlib.closing(record):
        total = plan.total()
        record.open()
        left_over, still_open, stood = left_by_earlier_runs(plan, record, ledger)
        record.add_header(total=total, axes=list(plan.axes), gone=left_over.items, strays=left_over.ids)
        gone = (*left_over.counted(record.folder), *left_over.told(record.folder))
        for told in (*record.told_at_the_beginning(), *gone):
            console.warn(told)
        try:
            with finishing_first(batch.stop):
                ended = Stage(console, results).show(
                    batch.run(
                        items_but(plan, still_open), total, open_items=items_of(plan, still_open), stood=stood
                    )
                )
        except errors.LocalFileError as refused:  # as where the system gives no more threads
            refused.message += f"{told_of_doubts(batch.in_doubt)}; the same command goes on from here"
            raise
        lost = record.told_at_the_end()
        for told in (*lost, *plan.told_at_the_end()):
            console.warn(told)
    return ended, not lost
