"""``hydra/sweeper=tune``: the same number of trials for every method, then the best of each over the seeds."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class TuningSweeper(Sweeper):
    """Search settings of every method with an equal budget, on validation data.

    Args:
        methods: the swept group whose choices are compared.
        trials: settings tried for each, >= 1.
        trial_seed: of the trials' training.
        draw_seed: of the draws.
        params: swept keys, as on the command line, which wins.
    """

    def __init__(
        self,
        methods: str = "domain_adaptation",
        trials: int = 10,
        trial_seed: int = 100,
        draw_seed: int = 0,
        params: Mapping[str, str] | None = None,
    ) -> None:
        self.methods, self.trials, self.trial_seed, self.draw_seed = methods, trials, trial_seed, draw_seed
        self.params = dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives."""
        self.folder = Path(str(config.hydra.sweep.dir))
        self.whole: Any = config
        self.launcher: Any = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run trials, choose, and run what was chosen.

        Args:
            arguments: overrides of the command line.
        """
        from tl_lab.errors import UserError

        try:
            self._sweep(arguments)
        except UserError as error:  # Hydra would print a traceback
            print(f"tl_lab: {error}", file=sys.stderr)
            sys.exit(1)

    def _sweep(self, arguments: list[str]) -> None:
        from tl_lab.errors import UserError
        from tl_lab.sweeps.tuning import Plan, best_trial, draw, selection_note, space_of

        plan = Plan.of([*(f"{key}={value}" for key, value in self.params.items()), *arguments], self.methods)
        if self.trials < 1:
            raise UserError(f"hydra.sweeper.trials is at least 1, not {self.trials}")
        if f"seed={self.trial_seed}" in plan.seeds:
            raise UserError(f"hydra.sweeper.trial_seed={self.trial_seed} is among the seeds that are reported")
        # splits drawn anew by each seed would put test samples of the reported seeds where settings are chosen
        if not any(text.startswith("data.seed=") for text in plan.fixed):
            plan.fixed.append(f"data.seed={self.trial_seed}")
        drawn = []
        for cell in plan.cells:
            method = next(text.partition("=")[2] for text in cell if text.startswith(f"{self.methods}="))
            drawn.append(draw(space_of(method, self.methods, plan.ranges), self.trials, f"{self.draw_seed} {cell}"))
        self.folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.whole, self.folder / "multirun.yaml")
        trials = [
            [*plan.fixed, *cell, *settings, f"seed={self.trial_seed}", "sweep.trial=true"]
            for cell, tried in zip(plan.cells, drawn, strict=True)
            for settings in tried
        ]
        total = len(trials) + len(plan.cells) * len(plan.seeds)
        self.launcher.expected = total  # for its progress; other launchers do not look
        returns = self.launcher.launch([[*job, _into("trials", n)] for n, job in enumerate(trials)], 0)
        objectives = [each.return_value for each in returns]
        chosen = selection_note(
            [self.folder / "trials" / str(n) for n in range(len(trials))], self.trials, self.trial_seed
        )
        final = []
        for number, (cell, tried) in enumerate(zip(plan.cells, drawn, strict=True)):
            best = best_trial(objectives[number * self.trials : (number + 1) * self.trials])
            if best is None:
                print(f"tl_lab: {' '.join(cell)}: every trial failed; it is not run", file=sys.stderr)
                continue
            print(f"{' '.join(cell)}: {' '.join(tried[best]) or 'its defaults'} ({chosen})", flush=True)
            keys = " ".join(text.partition("=")[0] for text in tried[best])
            record = [f"sweep.chosen='{chosen}'", f"sweep.tuned='{keys}'"]
            final += [[*plan.fixed, *cell, *tried[best], seed, *record] for seed in plan.seeds]
        if final:
            jobs = [[*job, _into("final", n)] for n, job in enumerate(final)]
            self.launcher.launch(jobs, len(trials))


def _into(part: str, number: int) -> str:
    return f"hydra.sweep.subdir={part}/{number}"
