"""Which parameters learn, at which rates, and when: the layer policy applied to a network's parts."""

from collections.abc import Callable, Iterable
from typing import Any, Self

from torch import nn
from torch.optim import Optimizer

from tl_lab.domain_adaptation.base import DomainAdaptation
from tl_lab.errors import UserError
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.model.network import Network
from tl_lab.training.hooks import Hooks

__all__ = ["LearningParts"]


class LearningParts(Hooks):
    """The parts of a strategy, what of them learns, and the optimizer's groups."""

    network: Network
    adaptation: DomainAdaptation
    layers: LayerPolicy
    make_optimizer: Callable[[Iterable[dict[str, Any]]], Optimizer]
    groups: dict[str, list[nn.Module]]
    """Modules of each layer group, shallow to deep."""
    _frozen: set[str]

    def parts(self) -> dict[str, nn.Module]:
        """Name the parts: backbone, bottleneck, head, adaptation, and the target's encoder where it has its own."""
        network = self.network
        own = {} if network.target_encoder is None else {"target_encoder": network.target_encoder}
        return {
            "backbone": network.backbone,
            "bottleneck": network.bottleneck,
            "head": network.head,
            "adaptation": self.adaptation,
            **own,
        }

    def _beside_backbone(self) -> dict[str, nn.Module]:
        """Name what learns at the head's rate: every part but the backbones, which the layer policy rules."""
        parts = {name: part for name, part in self.parts().items() if name != "backbone"}
        if self.network.target_encoder is not None:
            parts["target_encoder"] = self.network.target_encoder["bottleneck"]
        return parts

    def learned_parameters(self) -> list[nn.Parameter]:
        """List the parameters that learn at some time in the run."""
        chosen = self.layers.chosen(list(self.groups))
        modules = [module for name in chosen for module in self.groups[name]]
        modules += list(self._beside_backbone().values())
        fixed = {id(p) for part in self._beside_backbone().values() for p in part.parameters() if not p.requires_grad}
        return [parameter for module in modules for parameter in module.parameters() if id(parameter) not in fixed]

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen groups stay in evaluation mode, so that their batch-norm stands still."""
        super().train(mode)
        for name in self._frozen:
            for module in self.groups[name]:
                module.eval()
        return self

    def freeze_for(self, epoch: int) -> None:
        """Let exactly those layer groups learn that the policy names for this epoch."""
        learning = set(self.layers.learning(list(self.groups), epoch))
        self._frozen = set(self.groups) - learning
        for name, modules in self.groups.items():
            for module in modules:
                module.requires_grad_(name in learning)
        self.train(self.training)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """List the optimizer's groups, deepest layers last: every one is there from the start, frozen or not."""
        shares = self.layers.shares(list(self.groups))
        groups = [
            {"name": f"backbone/{name}", "share": shares[name], "params": _parameters(self.groups[name])}
            for name in self.layers.chosen(list(self.groups))
        ]
        groups += [
            {"name": name, "share": 1.0, "params": [p for p in part.parameters() if p.requires_grad]}
            for name, part in self._beside_backbone().items()
        ]
        return [group for group in groups if group["params"]]

    def configure_optimizers(self) -> Optimizer:
        """Build the optimizer; each group's rate is its share of the head's."""
        lr = self.make_optimizer.keywords["lr"]  # type: ignore[attr-defined]
        groups = self.parameter_groups()
        for group in groups:
            group["base_lr"] = group["lr"] = lr * group.pop("share")
        try:
            return self.make_optimizer(groups)
        except ValueError as error:
            raise UserError(f"the optimizer refuses its options: {error}") from error

    def describe_layers(self) -> str:
        """Say in words which layer groups learn, when and at which share of the rate."""
        names = list(self.groups)
        chosen, shares = self.layers.chosen(names), self.layers.shares(names)
        if not chosen:
            return f"backbone frozen ({', '.join(names)})"
        told = [f"{name} x{shares[name]:.3g}" if shares[name] != 1 else name for name in chosen]
        if frozen := [name for name in names if name not in chosen]:
            told.append(f"frozen: {', '.join(frozen)}")
        if self.layers.unfreeze_every is not None:
            told.append(f"one more group every {self.layers.unfreeze_every} epochs, from the top")
        return ", ".join(told)

    def find_groups(self, policy: LayerPolicy) -> None:
        """Look up the network's layer groups, and refuse a policy that names others."""
        self.layers, self._frozen = policy, set()
        self.groups = {name: list(modules) for name, modules in self.network.backbone.layer_groups()}
        if self.network.target_encoder is not None:
            for name, modules in self.network.target_encoder["backbone"].layer_groups():  # type: ignore[operator]
                self.groups[name] += modules
        policy.chosen(list(self.groups))  # a wrong name is refused now, not in the first epoch


def _parameters(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    return [parameter for module in modules for parameter in module.parameters()]
