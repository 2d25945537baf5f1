"""Classification by a prompted language model, with a few labelled examples in the prompt or without any."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from tl_lab.backbones.hf_causal import HFCausal
from tl_lab.data.base import DataModule
from tl_lab.data.batches import Labelled
from tl_lab.data.inputs.tokenisers import Text
from tl_lab.data.splits import few_in_strata, few_labels
from tl_lab.errors import UserError, nearest
from tl_lab.functional.class_texts import contextual_calibration
from tl_lab.functional.share_interval import wilson_interval
from tl_lab.options import Count, Natural
from tl_lab.randomness import derive_seed
from tl_lab.results.screen import console
from tl_lab.strategies.base import Strategy
from tl_lab.strategies.prompting.asking import Beginning, begin, continued, scores_of
from tl_lab.strategies.prompting.prompts import CONTENT_FREE, Demonstration, Prompt, prompts_of, template_of
from tl_lab.strategies.zero_shot import readable_name
from tl_lab.texts import counted

__all__ = ["Prompting"]

_SINGLE = "Text: {text}\nLabel: {label}"
_PAIR = "Text 1: {text}\nText 2: {second}\nLabel: {label}"
_BETWEEN = "\n\n"
_REASONING, _ANSWER = "\nReasoning:", "\nAnswer:"


class Prompting(Strategy):
    """Predict the label whose word a language model considers most probable after the prompt.

    A prompt consists of a template that is filled with a few demonstrations and their labels, and then with the text to
    be classified up to its label. Label words are scored by the mean log-probability of their tokens, and calibrated by
    inputs without content. All combinations of templates, draws of demonstrations and orders are used; scores are means
    over these prompts and are reported with their spread, and no prompt is selected.

    Args:
        templates: each with ``{text}`` (for pairs also ``{second}``), and ending in ``{label}``; None for one template
            that names the text, or both texts of a pair.
        label_words: words that replace the names of classes; None for the names.
        shots: demonstrations per prompt, from the training set; 0 for none.
        draws: number of draws of demonstrations.
        orders: number of orders of the demonstrations of each draw.
        calibrated: divide by the probabilities after inputs without content.
        normalised: score words by the mean over their tokens; False for the sum.
        reasoning_tokens: largest number of tokens of reasoning that the model writes before the label; 0 for none.
            Demonstrations contain the steps that the data provide.
        batch_size: texts per forward pass.
        language_model: name or folder of the language model if the backbone is not one, as in comparisons with
            encoders; None for the packaged SmolLM2.
        options: keyword arguments of :class:`~tl_lab.strategies.base.Strategy`.

    Raises:
        UserError: a template lacks a placeholder, a class is unknown, or the data are not texts.

    References:
        T. Brown et al., "Language Models are Few-Shot Learners", NeurIPS 2020. https://arxiv.org/abs/2005.14165
        Z. Zhao et al., "Calibrate Before Use", ICML 2021. https://arxiv.org/abs/2102.09690
        J. Wei et al., "Chain-of-Thought Prompting Elicits Reasoning in Large Language Models", NeurIPS 2022.
        https://arxiv.org/abs/2201.11903
    """

    needs = frozenset({"labels"})
    handles = frozenset({"labels"})
    problems = frozenset({"single_label"})
    trains = False
    takes_adapter = False
    shardable = False
    wants_weights = True

    @classmethod
    def prepares_training(cls, node: Mapping[str, Any]) -> bool:
        """Whether the texts of the training set are read, which the demonstrations need."""
        return False

    def __init__(
        self,
        *,
        templates: Sequence[str] | None = None,
        label_words: Mapping[str | int, str] | None = None,
        shots: Natural = 4,
        draws: Count = 2,
        orders: Count = 1,
        calibrated: bool = True,
        normalised: bool = True,
        reasoning_tokens: Natural = 0,
        batch_size: Count = 16,
        language_model: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        backbone = self.network.backbone
        if getattr(backbone.spec, "tokeniser", None) is None:
            raise UserError(
                f"strategy=prompting needs texts and a language model, not backbone={type(backbone).__name__}: use "
                "data of texts and backbone=hf_causal"
            )
        # in a list: as a module of the strategy it would be counted twice if it is the backbone
        self._asked = [backbone if isinstance(backbone, HFCausal) else HFCausal(name=language_model).eval()]
        if isinstance(templates, str) or (templates is not None and not len(templates)):
            raise UserError(f"strategy.templates needs at least one template, such as [{_SINGLE!r}]")
        self._default = templates is None  # chosen when the texts are known
        self.templates = [template_of(text) for text in templates or [_SINGLE]]
        names, given = self.problem.output_names, {str(name): str(word) for name, word in (label_words or {}).items()}
        if unknown := [name for name in given if name not in names]:
            raise UserError(
                f"strategy.label_words names the class {unknown[0]!r}, which the data do not have; "
                f"{nearest(unknown[0], names)}"
            )
        self.words = [given.get(name, readable_name(name)) for name in names]
        if empty := [name for name, word in zip(names, self.words, strict=True) if not word.strip()]:
            raise UserError(f"strategy.label_words: the class {empty[0]!r} has no word")
        if len(set(self.words)) < len(self.words):
            raise UserError(f"strategy.label_words: two classes have the same word ({', '.join(self.words)})")
        self.shots, self.draws, self.orders = shots, draws, orders
        self.calibrated, self.normalised = calibrated, normalised
        self.reasoning_tokens, self.batch_size = reasoning_tokens, batch_size
        self.prompts: list[Prompt] = []
        self.right: dict[int, list[bool]] = {}
        self.left_out: dict[int, int] = {}  # demonstrations of each prompt that exceeded the context
        self._ready: dict[int, tuple[Beginning, Tensor | None]] = {}

    @property
    def model(self) -> HFCausal:
        """The language model."""
        return self._asked[0]

    # ------------------------------------------------------------------ prompts

    def _strings(self, name: str) -> list[Text]:
        strings = getattr(self.data, "strings", {})
        if name not in strings:
            raise UserError(
                f"strategy=prompting needs the original texts, which {type(self.data).__name__} does not provide"
            )
        return cast(list[Text], strings[name].items)

    def on_test_epoch_start(self) -> None:
        """Draw the demonstrations, and print the number of questions."""
        super().on_test_epoch_start()
        self._ready, self.right, self.left_out = {}, {}, {}
        self.model.to(self.device)
        train = self.data.sets[self.data.primary]
        assert train.y is not None
        pairs = not isinstance(self._strings(self.data.test_names[0])[0], str)
        if self._default:
            self.templates = [template_of(_PAIR if pairs else _SINGLE)]
        if pairs and (short := [one.before for one in self.templates if "{second}" not in one.before]):
            raise UserError(f"strategy.templates: {short[0]!r} lacks {{second}} for the pairs' second text")
        draws = self.draws if self.shots else 1
        self.prompts = prompts_of(
            len(self.templates), [self._draw(train.y.cpu(), k) for k in range(draws)], self.orders, self.seed
        )
        count = sum(len(self.data.sets[name]) for name in self.data.test_names)
        console.say(
            f"Prompting: {counted(len(self.prompts), 'prompt')} ({counted(len(self.templates), 'template')} x "
            f"{counted(draws, 'draw')} of {self.shots} x "
            f"{len(self.prompts) // (len(self.templates) * draws)} order) for {counted(count, 'text')}: "
            f"{counted(len(self.prompts) * count, 'question')}"
        )

    def _draw(self, y: Tensor, number: int) -> list[int]:
        """Draw demonstrations, balanced over the classes as far as possible, in random order."""
        if not self.shots:
            return []
        if self.shots > len(y):
            raise UserError(f"strategy.shots={self.shots} is more than the {len(y):,} labelled samples")
        seed, names = derive_seed(self.seed, "demonstrations", number), self.problem.output_names
        if self.shots >= len(names):
            drawn = few_labels(y, self.shots, seed, names)
        else:
            drawn = few_in_strata(None, len(y), self.shots, seed)
        mixed = torch.randperm(len(drawn), generator=torch.Generator().manual_seed(seed))
        return cast(list[int], drawn[mixed].tolist())

    def _written(self, prompt: Prompt) -> list[str]:
        """Write the demonstrations of a prompt."""
        template, train = self.templates[prompt.template], self.data.sets[self.data.primary]
        assert train.y is not None
        texts, steps = self._strings(self.data.primary), getattr(self.data, "reasoning", {})
        shown = [
            Demonstration(
                texts[i], self.words[int(train.y[i])], steps.get(texts[i], "") if self.reasoning_tokens else ""
            )
            for i in prompt.demonstrations
        ]
        return [
            f"{template.fill(one.text)}{_REASONING} {one.reasoning}{_ANSWER} {one.label}"
            if one.reasoning
            else f"{template.fill(one.text)}{template.gap}{one.label}"
            for one in shown
        ]

    def _word_tokens(self, prompt: Prompt) -> list[list[int]]:
        gap = " " if self.reasoning_tokens else self.templates[prompt.template].gap
        return [self.model.tokeniser.pieces(gap + word) for word in self.words]

    def _beginning(self, number: int, room: int) -> Beginning:
        """Read the demonstrations once; the first ones are left out if they exceed the model's context.

        Args:
            number: of the prompt.
            room: number of tokens of the longest question, including its label.
        """
        written, self.left_out[number] = self._written(self.prompts[number]), 0
        while True:
            text = "".join(one + _BETWEEN for one in written)
            ids = self.model.tokeniser.whole(text)
            if len(ids) + room <= self.model.max_context:
                return begin(self.model, ids, self.device)
            if not written:
                raise UserError(
                    f"a text needs {room} tokens, but the model reads at most {self.model.max_context}: shorten it"
                )
            written = written[1:]
            self.left_out[number] += 1

    # ------------------------------------------------------------------ questions

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Skip the validation set, because prompts are slow and it selects nothing."""

    def on_validation_epoch_end(self) -> None:
        """Compute no scores."""
        self.last_validation = {}

    def _questions(self, prompt: Prompt, texts: Sequence[Text]) -> list[list[int]]:
        template = self.templates[prompt.template]
        return [self.model.tokeniser.pieces(template.fill(text)) for text in texts]

    def _prepare_prompt(self, number: int, name: str) -> tuple[Beginning, Tensor | None]:
        """Read the beginning of a prompt, and the probabilities of label words after inputs without content."""
        if number not in self._ready:
            prompt = self.prompts[number]
            words = self._word_tokens(prompt)
            extra = max(map(len, words)) + 1 + (self.reasoning_tokens + 8 if self.reasoning_tokens else 0)
            longest = max(map(len, self._questions(prompt, self._strings(name))))
            beginning = self._beginning(number, longest + extra)
            neutral = None
            if self.calibrated:
                pairs = not isinstance(self._strings(name)[0], str)
                free = [(text, text) if pairs else text for text in CONTENT_FREE]
                questions = self._questions(prompt, free)
                if self.reasoning_tokens:
                    questions = [[*one, *self.model.tokeniser.pieces(_ANSWER)] for one in questions]
                neutral = scores_of(self.model, beginning, questions, words, self.normalised, self.device)
            self._ready[number] = beginning, neutral
        return self._ready[number]

    def _log_probabilities(self, number: int, name: str, texts: Sequence[Text]) -> Tensor:
        prompt = self.prompts[number]
        beginning, neutral = self._prepare_prompt(number, name)
        questions = self._questions(prompt, texts)
        words, parts = self._word_tokens(prompt), []
        for start in range(0, len(questions), self.batch_size):
            part = questions[start : start + self.batch_size]
            if self.reasoning_tokens:
                part = self._reasoned(beginning, part)
            parts.append(scores_of(self.model, beginning, part, words, self.normalised, self.device))
        log_p = torch.cat(parts)
        return log_p.log_softmax(1) if neutral is None else contextual_calibration(log_p, neutral)

    def _reasoned(self, beginning: Beginning, questions: Sequence[list[int]]) -> list[list[int]]:
        """Let the model write its reasoning about each question, and append the request for the answer."""
        tokeniser = self.model.tokeniser
        asked = [[*question, *tokeniser.pieces(_REASONING)] for question in questions]
        stop = frozenset(tokeniser.pieces("\n") + tokeniser.pieces("\n\n"))
        thoughts = continued(self.model, beginning, asked, self.reasoning_tokens, stop, self.device)
        end = tokeniser.pieces(_ANSWER)
        return [[*question, *thought, *end] for question, thought in zip(asked, thoughts, strict=True)]

    def _measure(self, name: str, batch: Any, batch_idx: int) -> None:
        assert isinstance(batch, Labelled)
        strings = self._strings(name)
        texts = [strings[i] for i in batch.index.tolist()]
        for number in range(len(self.prompts)):
            log_p = self._log_probabilities(number, name, texts)
            self.meters[name].update(log_p, batch.y)  # type: ignore[operator]
            self.right.setdefault(number, []).extend((log_p.argmax(1) == batch.y).tolist())
            if number == 0:  # comparisons by item use the first prompt
                self.keep_answers(name, log_p, batch.y, batch)

    # ------------------------------------------------------------------ reporting

    @property
    def accuracies(self) -> list[float]:
        """Accuracy of each prompt."""
        return [sum(right) / len(right) for _, right in sorted(self.right.items()) if right]

    def _scores(self, prefixes: Mapping[str, str]) -> dict[str, float]:
        scores = super()._scores(prefixes)
        found = self.accuracies
        if len(found) > 1:
            mean = sum(found) / len(found)
            spread = math.sqrt(sum((one - mean) ** 2 for one in found) / (len(found) - 1))
            prefix = next(iter(prefixes.values()))
            scores |= {
                f"{prefix}/spread_acc": spread,
                f"{prefix}/least_acc": min(found),
                f"{prefix}/most_acc": max(found),
            }
        return scores

    def facts(self) -> dict[str, str]:
        """Report the prompts and the model."""
        text = f"{counted(self.shots, 'shot')}, {'calibrated' if self.calibrated else 'not calibrated'}"
        if self.reasoning_tokens:
            text += f", up to {self.reasoning_tokens} tokens of reasoning"
        text += f", mean over {len(self.templates)} x {self.draws if self.shots else 1} x {self.orders} prompts"
        if self.model is not self.network.backbone:
            text += f"; answered by {self.model.source or 'a language model'}, not by the backbone"
        return {**super().facts(), "prompting": text}

    def on_test_epoch_end(self) -> None:
        """Compute the scores, and print those of each prompt."""
        super().on_test_epoch_end()
        if len(found := self.accuracies) > 1:
            each = ", ".join(f"{one:.1%}" for one in found[:10]) + (" ..." if len(found) > 10 else "")
            console.say(f"Accuracy by prompt: {each}; the table has their mean")
        if dropped := sum(self.left_out.values()):
            console.say(
                f"Left out {counted(dropped, 'demonstration')} of {counted(len(self.prompts), 'prompt')}: the model "
                f"reads at most {self.model.max_context} tokens"
            )

    def artifacts(self, folder: Path, data: DataModule) -> dict[str, Any]:
        """Write the accuracy of each prompt, and the comparison with the most frequent class."""
        rows = zip(self.prompts, self.accuracies, self.left_out.values(), strict=True)
        return {
            **self._scale(data),
            "templates": [f"{one.before}{one.gap}{{label}}" for one in self.templates],
            "prompts": [
                {
                    "template": prompt.template,
                    "draw": prompt.draw,
                    "order": prompt.order,
                    "shots": len(prompt.demonstrations) - dropped,
                    "acc": accuracy,
                }
                for prompt, accuracy, dropped in rows
            ],
        }

    def _scale(self, data: DataModule) -> dict[str, Any]:
        """Compare the mean accuracy and its interval over items with that of the most frequent class."""
        y = data.sets[data.test_names[0]].y
        if y is None or not self.accuracies:
            return {}
        acc, count = sum(self.accuracies) / len(self.accuracies), len(self.right[0])
        low, high = wilson_interval(acc, count)
        chance = float(y.bincount().max() / len(y))
        absent = " absent at this scale:" if low <= chance <= high else ""
        console.say(
            f"At {self.model_size:,} parameters:{absent} accuracy {acc:.1%} ({low:.1%} to {high:.1%} over {count} "
            f"texts); always answering the most frequent class gives {chance:.1%}"
        )
        return {"scale": {"parameters": self.model_size, "acc": acc, "low": low, "high": high, "chance": chance}}

    @property
    def model_size(self) -> int:
        """Number of parameters of the language model."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    # ------------------------------------------------------------------ checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Exclude the language model, which is not trained."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["state_dict"] = {}
        checkpoint["model"]["prompted"] = True

    def whole_state(self, checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the state unchanged, because nothing is trained."""
        return self.state_dict()
