"""Make a batch ready to be sent: all that can be wrong with it is found first, in an order that guards money."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cometrep import errors
from cometrep.batch.clashes import check_batch, check_folders, folders_of
from cometrep.batch.command_line import adding
from cometrep.batch.lost_record import refuse_without_record
from cometrep.batch.plan import ASKS_ABOVE, Plan, Wanted, planned
from cometrep.batch.record import Record
from cometrep.batch.sources import SWEPT_BYTES
from cometrep.console import Console
from cometrep.inputs import REFUSE_BYTES
from cometrep.keeping import Keeper
from cometrep.text import format_count


class Ready(NamedTuple):
    """A batch that may be sent, with its record, which is not open yet.

    `keeper` makes what keeps the outputs of each item; `check_folders` raises LocalFileError where these could not
    be saved, and is to be called before the first create.
    """

    plan: Plan
    record: Record
    keeper: Keeper
    check_folders: Callable[[], None]


@contextlib.contextmanager
def prepared(
    console: Console, wanted: Wanted, folder: Path, keeper: Keeper, *, api: str, is_confirmed: bool
) -> Iterator[Ready]:
    """Plan a batch into a folder, ask before a large sweep, and check all of it; its file stays open meanwhile.

    `keeper` keeps outputs as the command wants them kept, and `api` is what `Record` takes. Raises UsageError, and
    LocalFileError where the folder had a record that is lost.
    """
    checking = partial(console.saying_if_slow, "checking all items before the first one is sent")
    with contextlib.ExitStack() as stack:
        with checking():
            planning = planned(
                wanted,
                template=keeper.keeping.template,
                command=console.command_line,
                read_stdin=partial(
                    console.read_stdin, limit_bytes=SWEPT_BYTES if wanted.is_sweep else REFUSE_BYTES
                ),
                copy_stdin=console.copy_stdin,
            )
            plan = stack.enter_context(planning)
        _announce(console, plan, is_confirmed=is_confirmed)  # before the check that takes long
        record = Record(folder, plan.shard, api=api)
        record.refuse_as_items(wanted.file)
        refuse_without_record(folder)
        with checking():
            plan = plan.wholly_checked(is_strict=wanted.is_strict)
            keeper = keeper.for_batch(str(folder))
            check_batch(keeper.keeping, plan.items_of_all_shards)
            check = partial(check_folders, folders_of(keeper.keeping, plan.items_of_all_shards()))
        yield Ready(plan, record, keeper, check)


def _announce(console: Console, plan: Plan, *, is_confirmed: bool) -> None:
    """Say what is doubtful; show the size of a sweep, and ask where it is large."""
    for doubt in plan.doubts:
        console.warn(doubt)
    for hint in plan.hints:
        console.hint(hint)
    if not plan.is_sweep:
        return
    console.say(f"sweep: {plan.size_text()}")
    if plan.size <= ASKS_ABOVE or is_confirmed:
        return
    part = "part of the " if plan.shard else ""
    try:
        is_confirmed = console.confirm(f"Send {part}{plan.size} items?")
    except errors.Stopped as stop:
        stop.message += "; nothing was sent"
        stop.hint = console.command_line
        raise
    if not is_confirmed:
        raise errors.UsageError(
            f"a sweep of {format_count(plan.size, 'item')} was not confirmed; nothing was sent",
            hint=adding("--yes", console.command_line),
            code="not_confirmed",
        )
