"""Types and ranges of the options that are not declared in the signatures of this project's classes.

Options of the project's classes are declared in their constructors' signatures (see :mod:`tl_lab.options`).
"""

from typing import Annotated, Any, Literal

from annotated_types import Interval, Len

from tl_lab.options import Count, Natural, NonNegative, Positive, Probability, Several, Share

__all__ = [
    "ADDED",
    "COLUMN_OPTIONS",
    "ELSEWHERE",
    "FILLED",
    "FILLED_OF_LOGGERS",
    "NEEDED",
    "OF_LIBRARIES",
    "OF_ONE_CLASS",
    "PLAIN",
    "PROVIDED",
]

OF_ONE_CLASS = frozenset(
    {
        "adapter",
        "augmentation",
        "backbone",
        "data",
        "domain_adaptation",
        "optimizer",
        "scheduler",
        "strategy",
        "trainer",
    }
)
"""Groups with one object per run."""

PROVIDED: dict[str, frozenset[str]] = {
    "backbone": frozenset({"in_channels", "input_size", "columns", "table"}),
    "strategy": frozenset(
        {"backbone", "adaptation", "problem", "num_outputs", "labels", "optimizer", "scheduler", "seed"}
        | {"gradient_clip_norm", "accumulate_batches", "weight_decay_on", "graph", "outputs", "adapter"}
    ),
    "trainer": frozenset({"logger", "callbacks", "default_root_dir", "plugins"}),
}
"""Constructor arguments that the run fills in, by the node's path; files may omit them."""

_Threads = Annotated[int, Interval(ge=1, le=1024)]  # PyTorch crashes if the system cannot create more
_Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]  # the range of numpy's generators

PLAIN: dict[str, Any] = {
    "seed": _Seed,
    "threads": _Threads,
    "channels_last": bool,
    "precision_of_matmul": Literal["highest", "high", "medium"],
    "name": str,
    "tags": list[str],
    "init_from": str | None,
    "debug": bool,
    "resume": str | None,
    "lengthened_from": Count | None,
    "changed_data": Literal["refuse", "restart"],
    "reproduces": dict | None,
    "figures": bool | Literal["auto"],
    "health": bool,
    "forgetting": bool,
    "evaluate": Literal["last", "best"],
    "sweep.resume": bool,
    "sweep.objective": str,
    "sweep.chosen": str | None,
    "sweep.tuned": str | None,
    "sweep.trial": bool,
    "update.gradient_clip_norm": Positive | None,
    "update.accumulate_batches": Count,
    "update.graph": bool | Literal["auto"],
    "update.compile": bool,
    "update.lr_find": bool,
    "update.weight_decay_on": Literal["all", "matrices"],
    "validation.samples": Several | None,
    "logger.mode": Literal["offline", "online", "disabled"],
    "logger.project": str,
    "logger.entity": str | None,
    "logger.group": str | None,
    "logger.job_type": str | None,
    "logger.notes": str | None,
    "logger.log_figures": bool,
    "logger.log_model": bool,
    "callbacks.checkpoint.every_n_epochs": Count,
    "callbacks.checkpoint.best": bool,
    "callbacks.checkpoint.monitor": str,
    "callbacks.checkpoint.mode": Literal["auto", "max", "min"],
    "callbacks.early_stopping.enabled": bool,
    "callbacks.early_stopping.monitor": str,
    "callbacks.early_stopping.mode": Literal["auto", "max", "min"],
    "callbacks.early_stopping.patience": Count,
    "callbacks.early_stopping.min_delta": NonNegative,
}
"""Values that are not arguments of a class, by path."""

_Batches = Natural | Share | None  # a number, or a share of an epoch
_OPTIMIZER: dict[str, Any] = {
    "lr": NonNegative,
    "betas": Annotated[list[Probability], Len(2, 2)],
    "eps": NonNegative,
    "weight_decay": NonNegative,
    "momentum": NonNegative,
    "dampening": NonNegative,
    "alpha": Share,
    "lr_decay": NonNegative,
    "rho": Share,
}

OF_LIBRARIES: dict[str, dict[str, Any]] = {
    "torch.optim": _OPTIMIZER,
    "pytorch_lightning.Trainer": {
        "accelerator": Literal["cpu", "gpu", "cuda", "mps", "tpu", "auto"],
        "devices": Annotated[int, Interval(ge=-1)] | Annotated[list[Natural], Len(1)] | Literal["auto"],
        "num_nodes": Count,
        "max_epochs": Count | None,
        "limit_train_batches": _Batches,
        "limit_val_batches": _Batches,
        "limit_test_batches": _Batches,
        "check_val_every_n_epoch": Count,
        "log_every_n_steps": Count,
        "num_sanity_val_steps": Annotated[int, Interval(ge=-1)],
        "enable_progress_bar": bool,
        "enable_model_summary": bool,
        "benchmark": bool,
        "profiler": Literal["simple", "advanced", "pytorch"] | None,
    },
}
"""Types that the signatures of other packages' classes do not declare, by the beginning of the class name."""

ADDED: dict[str, dict[str, Any]] = {"pytorch_lightning.Trainer": {"max_updates": Count | None}}
"""Options of other packages' classes that the run itself uses, by class."""

NEEDED = frozenset({"trainer.max_epochs", "trainer.check_val_every_n_epoch", "trainer.precision", "strategy.layers"})
"""Arguments that the run itself reads; they are required even if the class has defaults."""

FILLED: dict[str, frozenset[str]] = {
    "backbone": frozenset({"columns", "table"}),
    "strategy": PROVIDED["strategy"] | {"teacher_model"},
    "optimizer": frozenset({"capturable", "differentiable"}),
    "trainer": PROVIDED["trainer"]
    | {"inference_mode", "reload_dataloaders_every_n_epochs"}
    | {"gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches", "limit_predict_batches"},
}
"""Arguments that the run always fills in; a user's value would be ignored."""

FILLED_OF_LOGGERS = frozenset({"save_dir", "run_name"})
"""Arguments that the run fills in for loggers other than W&B that accept them; a configuration may set them."""

_TABLES = ("table", "text_table", "tasks_of_table", "image_table", "speech_table", "table_pair", "text_table_pair")
COLUMN_OPTIONS = {
    **{f"data.{role}_column": _TABLES for role in ("group", "domain", "time")},
    "data.text_column": ("text_table", "text_table_pair", "tasks_of_table"),
    "data.label_column": ("table", "text_table", "image_table", "table_pair", "text_table_pair"),
}
"""Options that name columns, and the choices of ``data`` for a table of the user that have them."""

ELSEWHERE = {
    "trainer.callbacks": "add callbacks.<name>._target_=<class>",
    "trainer.gradient_clip_val": "set update.gradient_clip_norm",
    "trainer.gradient_clip_algorithm": "set update.gradient_clip_norm",
    "trainer.accumulate_grad_batches": "set update.accumulate_batches",
    "trainer.logger": "see the group logger",
    "trainer.default_root_dir": "set hydra.run.dir",
    "strategy.seed": "set seed",
    "strategy.gradient_clip_norm": "set update.gradient_clip_norm",
    "strategy.accumulate_batches": "set update.accumulate_batches",
    "strategy.weight_decay_on": "set update.weight_decay_on",
    "strategy.graph": "set update.graph",
    "strategy.optimizer": "see the group optimizer",
    "strategy.scheduler": "see the group scheduler",
}
"""Alternatives to setting an argument that the run fills in."""
