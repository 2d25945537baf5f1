"""The command line of ``train.py``, which is checked before anything runs, with one sentence per mistake.

The program reads the arguments, composes once to find mistakes, and then calls Hydra, which composes again and calls
the job, once or (with ``-m``) for every combination.
"""

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from omegaconf import DictConfig

from tl_lab import commands
from tl_lab.cli import arguments, help_of_runs
from tl_lab.cli.job import die_with_the_sweep, run_job, say
from tl_lab.cli.launch import Launch, is_further_process, prepare
from tl_lab.cli.terminal import ends_with_its_reader, prepare_terminal
from tl_lab.config import conf_dir
from tl_lab.config.catalogue import using
from tl_lab.errors import UserError
from tl_lab.results.folder.lock import held

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> None:
    """Execute the command line; a failure ends the process with exit code 1.

    Args:
        argv: arguments; ``None`` for those of the process.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    die_with_the_sweep()
    try:
        prepare_terminal(given)
        names = {text.partition("=")[0] for text in given}
        prints = bool(names & arguments.PRINTING)
        with using(arguments.config_dirs(given)), ends_with_its_reader() if prints else contextlib.nullcontext():
            if names & arguments.HELP:
                help_of_runs.show()
            else:
                _main(given)
    except UserError as error:
        sys.exit(say(error))


def _main(given: list[str]) -> None:
    from tl_lab.config.natural import composing_once

    with composing_once():  # Hydra composes the same configuration twice more
        launch = prepare(given)
        if launch.sweep is None:
            _start(launch)
            return
    _start(launch)  # not cached, because each job of a sweep has its own configuration


def _start(launch: Launch) -> None:
    """Call Hydra, and end the process with exit code 1 after a failure."""
    original = list(sys.argv)

    def job(cfg: DictConfig) -> float | None:
        # Lightning starts the other processes of a distributed run with this process's own arguments
        sys.argv[:] = original
        return run_job(cfg, launch)

    sys.argv[1:] = launch.argv
    try:
        with _claimed(launch):
            try:
                _run_hydra(job)
            except SystemExit as end:  # Hydra has printed the reason; finished jobs are still reported
                if launch.sweep is None or end.code == 0:
                    raise
                launch.failed = True
            if launch.sweep is not None:
                from tl_lab.sweeps.finishing import finish

                launch.failed |= not finish(launch.sweep)
    except KeyboardInterrupt:
        _say_interrupted(launch)
        sys.exit(130)
    finally:
        sys.argv[:] = original
    if launch.failed:
        sys.exit(1)


def _run_hydra(job: Callable[[DictConfig], float | None]) -> None:
    import hydra

    from tl_lab.config.natural import install

    install()
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)()


def _claimed(launch: Launch) -> contextlib.AbstractContextManager[Any]:
    """Lock the folder of a run or sweep before Hydra writes into it."""
    if launch.sweep is None:
        place = launch.resume or launch.run
        return contextlib.nullcontext() if place is None or is_further_process() else held(place)
    from tl_lab.sweeps.folder import claim

    return claim(launch.sweep, launch.overrides)


def _say_interrupted(launch: Launch) -> None:
    where = "" if launch.folder is None else f"; resume: {commands.train(f'resume={launch.folder}')}"
    if launch.sweep is not None:
        kept = [text for text in launch.overrides if not text.startswith(("sweep.resume=", "hydra.sweep.dir="))]
        words = ["-m", *kept, f"hydra.sweep.dir={arguments.plain_or_quoted(str(launch.sweep))}", "sweep.resume=true"]
        where = f"; resume: {commands.train(*words)}"
    print(f"tl_lab: interrupted{where}", file=sys.stderr, flush=True)
