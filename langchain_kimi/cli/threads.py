"""`langchain-kimi threads list|show|prune`: what the threads of a checkpointer take up, and less of it."""

import argparse
from collections import defaultdict
from datetime import UTC, datetime, timedelta

from langchain_kimi._stored_threads.retention import RetentionRule, StoredCheckpoint
from langchain_kimi._stored_threads.threads import StoredThreads, StoredThreadsError, open_stored_threads
from langchain_kimi.cli.command_errors import CommandError
from langchain_kimi.cli.output import write_line

_IN_USE = timedelta(minutes=1)
"""What is newer than this stays: a run writes in the background, not always in order."""


def run_threads_command(options: argparse.Namespace) -> int:
    """Run the action; the exit status."""
    try:
        with open_stored_threads(options.database, writes=options.action == "prune" and options.apply) as threads:
            if options.action == "list":
                _list(threads)
            elif options.action == "show":
                _show(threads, options.thread)
            else:
                _prune(threads, options)
    except StoredThreadsError as error:
        raise CommandError(str(error)) from error
    return 0


def _list(threads: StoredThreads) -> None:
    for one in threads.summaries():
        write_line(f"{_time(one.updated)}  {one.checkpoints:>7,} checkpoints  {one.thread_id}")


def _show(threads: StoredThreads, thread_id: str) -> None:
    graphs: dict[str, list[StoredCheckpoint]] = defaultdict(list)
    for checkpoint in threads.checkpoints(thread_id):
        graphs[checkpoint.namespace].append(checkpoint)
    if not graphs:
        raise CommandError(f"There is no thread {thread_id!r}. `langchain-kimi threads list` shows all.")
    for namespace, checkpoints in sorted(graphs.items()):
        first, last = min(one.time for one in checkpoints), max(one.time for one in checkpoints)
        size = sum(one.size for one in checkpoints)
        write_line(
            f"{_time(first)} to {_time(last)}  {len(checkpoints):>6,} checkpoints  {size:>12,} bytes  "
            f"{namespace or '(the thread itself)'}"
        )


def _prune(threads: StoredThreads, options: argparse.Namespace) -> None:
    if options.keep is None and options.older_than is None:
        raise CommandError("Give --keep NUMBER, --older-than DAYS, or both, which then must both allow a deletion.")
    now = datetime.now(UTC)
    before = None if options.older_than is None else now - timedelta(days=options.older_than)
    rule = RetentionRule(options.keep or 1, before, settled=now - _IN_USE)
    chosen = options.threads or [one.thread_id for one in threads.summaries()]
    deleted = freed = 0
    for thread_id in chosen:
        pruned = threads.prune(thread_id, rule, dry_run=not options.apply)
        if pruned.deleted:
            write_line(
                f"{pruned.deleted:>7,} checkpoints deleted, {pruned.kept:>6,} kept, "
                f"{pruned.freed:>12,} bytes freed  {thread_id}"
            )
        deleted, freed = deleted + pruned.deleted, freed + pruned.freed
    write_line(f"In all {deleted:,} checkpoints of {len(chosen):,} threads, {freed:,} bytes.")
    if not options.apply:
        write_line("This was a dry run: nothing was deleted. Add --apply to delete.")


def _time(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M}"
