"""Application of the mask to a strategy's parameters: which are trained, at which learning rates, and when."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, cast

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from tl_lab.adapters.base import Adapter
from tl_lab.backbones.base import Backbone
from tl_lab.backbones.grouping import groups_of
from tl_lab.domain_adaptation.base import DomainAdaptation
from tl_lab.errors import UserError
from tl_lab.model.base_weights import BACKBONES
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.model.mask import Mask, Rule, narrowed
from tl_lab.model.network import Network
from tl_lab.training.hooks import Hooks

__all__ = ["LearningParts"]

_BESIDE = {
    "bottleneck": "network.bottleneck",
    "head": "network.head",
    "adaptation": "adaptation",
    "target_encoder": "network.target_encoder.bottleneck",
}


class LearningParts(Hooks):
    """The parts of a strategy, their trainable parameters, and the optimizer's groups."""

    network: Network
    adaptation: DomainAdaptation
    adapter: Adapter
    layers: LayerPolicy
    make_optimizer: Callable[[Iterable[dict[str, Any]]], Optimizer]
    decays_all: bool
    """Whether the optimizer's weight decay also applies to biases and normalisation layers."""
    groups: dict[str, list[nn.Module]]
    """Modules of each layer group, shallow to deep."""
    _rules: dict[str, Rule]
    """Rules of the backbones' parameters, by their names in the strategy."""
    _places: dict[str, tuple[nn.Module, str]]
    """Location of each of these parameters: a module, and the parameter's name in it."""
    _standing: list[nn.Module]
    """Modules that stay in evaluation mode in this epoch."""

    def parts(self) -> dict[str, nn.Module]:
        """Return the parts: backbone, bottleneck, head, adaptation, and the target encoder if there is one."""
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
        """Return the parts trained at the head's rate: all but the backbones, which have rules."""
        parts = {name: part for name, part in self.parts().items() if name != "backbone"}
        if self.network.target_encoder is not None:
            parts["target_encoder"] = self.network.target_encoder["bottleneck"]
        return parts

    # ------------------------------------------------------------------ the mask

    def mask(self) -> Mask:
        """Return the rules of all parameters, those of the backbones and of the other parts.

        The other parts are trained at the head's rate from the start, except for parameters that they freeze
        themselves, such as a teacher's.
        """
        beside = {
            f"{_BESIDE[part]}.{name}": Rule(part, learns=parameter.requires_grad)
            for part, module in self._beside_backbone().items()
            for name, parameter in module.named_parameters()
        }
        return Mask(self._rules | beside)

    def learned_parameters(self) -> list[nn.Parameter]:
        """List the parameters that are trained at any time in the run."""
        parameters = self._by_name()
        return [parameters[name] for name in self.mask().learned()]

    def learned_by_name(self, module: nn.Module) -> dict[str, nn.Parameter]:
        """Return the names of a module's parameters that are trained at any time, in the module's order."""
        learned = {id(parameter) for parameter in self.learned_parameters()}
        return {name: parameter for name, parameter in module.named_parameters() if id(parameter) in learned}

    def _by_name(self) -> dict[str, nn.Parameter]:
        """Return the parameters by their names in the mask."""
        own: dict[str, nn.Parameter] = {name: getattr(*place) for name, place in self._places.items()}
        return own | {
            f"{_BESIDE[part]}.{name}": parameter
            for part, module in self._beside_backbone().items()
            for name, parameter in module.named_parameters()
        }

    # ------------------------------------------------------------------ applying the mask

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen modules stay in evaluation mode, so that their batch-norm statistics do not change."""
        super().train(mode)
        for module in self._standing:
            module.eval()
        return self

    def freeze_for(self, epoch: int) -> None:
        """Make exactly those parameters of the backbones trainable that the mask selects for this epoch."""
        learning = Mask(self._rules).learning(epoch)
        for name, (module, parameter) in self._places.items():
            getattr(module, parameter).requires_grad_(name in learning)
        self._standing = [module for modules in self.groups.values() for module in self._stands_still(modules)]
        self.train(self.training)

    def _stands_still(self, modules: list[nn.Module]) -> list[nn.Module]:
        """List the modules of a layer group that stay in evaluation mode: all, or frozen batch-norm layers."""
        if not any(parameter.requires_grad for module in modules for parameter in module.parameters()):
            return modules
        norms = [inner for module in modules for inner in module.modules() if isinstance(inner, _BatchNorm)]
        return [norm for norm in norms if self.adapter.keeps_statistics or _is_frozen(norm)]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's groups, deepest layers last; all groups exist from the start, even if frozen."""
        mask, parameters = self.mask(), self._by_name()
        groups: list[dict[str, Any]] = [
            {"name": group, "share": mask[names[0]].share, "params": [parameters[name] for name in names]}
            for group, names in mask.groups().items()
        ]
        return groups if self.decays_all else [part for group in groups for part in _split_by_decay(group)]

    def configure_optimizers(self) -> Optimizer:
        """Build the optimizer; each group's learning rate is its share of the head's."""
        lr = self.make_optimizer.keywords["lr"]  # type: ignore[attr-defined]
        groups = self.parameter_groups()
        if not any(group["params"] for group in groups):
            raise UserError(
                f"nothing is trainable: strategy.layers.trainable={self.layers.trainable} freezes the backbone, and "
                f"{type(self).__name__} has no parameters above it; make layers trainable, or use "
                "strategy=nearest_centroid or feature_extraction on frozen features"
            )
        for group in groups:
            group["base_lr"] = group["lr"] = lr * group.pop("share")
        try:
            return self.make_optimizer(groups)
        except ValueError as error:
            raise UserError(f"the optimizer rejects its options: {error}") from error

    def describe_layers(self) -> str:
        """Describe which layer groups are trained, from which epoch, and at which share of the learning rate."""
        rules = {rule.group.removeprefix("backbone/"): rule for rule in self._rules.values() if rule.learns}
        names = list(self.groups)
        chosen = [name for name in names if name in rules]
        if not chosen:
            return f"backbone frozen ({', '.join(names)})"
        parts = [f"{name} x{rules[name].share:.3g}" if rules[name].share != 1 else name for name in chosen]
        if frozen := [name for name in names if name not in chosen]:
            parts.append(f"frozen: {', '.join(frozen)}")
        return ", ".join(parts + _describe_starts({name: rules[name].starts for name in chosen}))

    # ------------------------------------------------------------------ building the mask

    def find_groups(self, policy: LayerPolicy, adapter: Adapter) -> None:
        """Find the network's layer groups, and build the mask from the policy and the adapter.

        Raises:
            UserError: the policy names unknown groups, or excludes all parameters of the adapter.
        """
        self.layers, self.adapter, self._standing = policy, adapter, []
        self.groups = {name: list(modules) for name, modules in groups_of(self.network.backbone)}
        if self.network.target_encoder is not None:
            for name, modules in groups_of(cast(Backbone, self.network.target_encoder["backbone"])):
                self.groups[name] += modules
        names, self._places = self._names()
        grouped = {group: [names[id(p)] for p in _parameters(modules)] for group, modules in self.groups.items()}
        self._rules = narrowed(policy.rules(grouped), lambda name: adapter.owns(_in_backbone(name)))
        if adapter.changes_backbone and not any(rule.learns for rule in self._rules.values()):
            raise UserError(
                f"strategy.layers.trainable={policy.trainable} freezes all parameters of {type(adapter).__name__} in "
                "the backbone: set strategy.layers.trainable=all"
            )

    def _names(self) -> tuple[dict[int, str], dict[str, tuple[nn.Module, str]]]:
        """Return the names of the backbones' parameters by ``id``, and the location of each parameter by its name."""
        names: dict[int, str] = {}
        places: dict[str, tuple[nn.Module, str]] = {}
        for path, module in self.named_modules():
            for own, parameter in module._parameters.items():
                name = f"{path}.{own}"
                if parameter is not None and name.startswith(BACKBONES) and id(parameter) not in names:
                    names[id(parameter)], places[name] = name, (module, own)
        return names, places


def _split_by_decay(group: dict[str, Any]) -> list[dict[str, Any]]:
    """Split an optimizer group into vectors (biases, normalisation), which do not decay, and matrices, which do."""
    vectors = [parameter for parameter in group["params"] if parameter.ndim < 2]
    matrices = [parameter for parameter in group["params"] if parameter.ndim >= 2]
    undecayed = {**group, "name": f"{group['name']}/vectors", "params": vectors, "weight_decay": 0.0}
    return [part for part in (undecayed, {**group, "params": matrices}) if part["params"]]


def _in_backbone(name: str) -> str:
    """Return a parameter's name in its backbone."""
    prefix = next(prefix for prefix in BACKBONES if name.startswith(prefix))
    return name.removeprefix(prefix)


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters(recurse=False))
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def _describe_starts(starts: Mapping[str, int]) -> list[str]:
    """Describe from which epoch each layer group is trained, shallow to deep; empty if all start at the beginning."""
    if not any(starts.values()):
        return []
    every = min(starts.values())
    if every and list(starts.values())[::-1] == [every * place for place in range(1, len(starts) + 1)]:
        return [f"one more group every {every} epochs, from the top"]
    return [f"{name} from epoch {start + 1}" for name, start in starts.items() if start]


def _parameters(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    return [parameter for module in modules for parameter in module.parameters()]
