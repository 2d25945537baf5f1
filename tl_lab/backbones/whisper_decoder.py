"""The decoder of Whisper as a head, which scores given texts or transcribes."""

import inspect
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from tl_lab.errors import UserError
from tl_lab.functional.transcripts import BLANK, SILENT, path_of, plain_text

__all__ = ["Recogniser", "TokenTree", "repetition", "spellings", "token_tree"]

_MULTILINGUAL = 51865  # number of tokens from which a model needs tokens for language and task
_SIGNS = '"#()*+/:;<=>@[\\]^_`{|}~\u266a'  # signs of remarks on noise, which the published decoding also omits
_TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)
_REPEATS, _UNSURE = 2.4, -1.0  # compression ratio and mean log-probability beyond which a text is rejected
_LEAST = 0.51  # probability of a transcribed letter, the most probable output at its frame


class TokenTree(NamedTuple):
    """Texts as one sequence: a tree of tokens after a prompt, in which a token attends only to its ancestors.

    Attributes:
        ids: ids of the tokens, ``(T,)``.
        places: positions of the tokens in their texts, ``(T,)``.
        seen: whether a token (row) attends to another one (column), ``(T, T)``.
        steps: for each token of each text and for the end token: the index in ``ids`` of the previous token, its own
            id, and the number of the text, ``(3, S)``.
    """

    ids: Tensor
    places: Tensor
    seen: Tensor
    steps: Tensor


def token_tree(prompt: Sequence[int], texts: Sequence[Sequence[int]], end: int) -> TokenTree:
    """Merge the common beginnings of texts.

    Args:
        prompt: tokens before every text, at least one.
        texts: tokens of each text.
        end: the token after each text.
    """
    ids, parents = list(prompt), [-1, *range(len(prompt) - 1)]
    children: dict[tuple[int, int], int] = {}
    steps = []
    for number, text in enumerate(texts):
        node = len(prompt) - 1
        for token in text:
            steps.append((node, token, number))
            if (node, token) not in children:
                children[node, token] = len(ids)
                ids.append(token)
                parents.append(node)
            node = children[node, token]
        steps.append((node, end, number))
    seen = torch.eye(len(ids), dtype=torch.bool)
    for node, parent in enumerate(parents):  # parents precede their children
        if parent >= 0:
            seen[node] |= seen[parent]
    return TokenTree(torch.tensor(ids), seen.sum(1) - 1, seen, torch.tensor(steps).T)


def spellings(text: str) -> list[str]:
    """List possible transcripts of a text: with digits or words, in lower or upper case, with or without full stop."""
    words = dict.fromkeys([text, plain_text(text) or text])
    written = dict.fromkeys(form for word in words for form in (word, word[:1].upper() + word[1:]))
    return [f" {form}{stop}" for form in written for stop in ("", ".")]


class Recogniser(nn.Module):
    """Whisper's decoder on the encoder's states, ``(B, L, D)``, 0 after a recording's end.

    With the spellings of classes (:meth:`for_classes`), it returns the logarithm of the probability of the spellings of
    each class, ``(B, C)``. With the letters of transcripts (:meth:`for_letters`), it transcribes and returns outputs
    whose most probable path collapses to the text.

    Args:
        config: of the library's ``WhisperConfig``, as a dictionary.
        tokeniser: of the library tokenizers, as JSON.

    References:
        A. Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", ICML 2023.
        https://arxiv.org/abs/2212.04356
    """

    suppressed: Tensor

    def __init__(self, config: Mapping[str, Any], tokeniser: str) -> None:
        from tokenizers import Tokenizer
        from transformers import WhisperConfig
        from transformers.models.whisper.modeling_whisper import WhisperDecoder

        super().__init__()
        self.config, self._json = dict(config), tokeniser
        self.net = WhisperDecoder(WhisperConfig.from_dict(dict(config))).requires_grad_(False)
        self.tokeniser: Any = Tokenizer.from_str(tokeniser)
        self.vocabulary = self.net.embed_tokens.num_embeddings
        self.end = self._special("<|endoftext|>")
        task_tokens = ["<|en|>", "<|transcribe|>"] if self.vocabulary >= _MULTILINGUAL else []
        self.prompt = [self._special(name) for name in ("<|startoftranscript|>", *task_tokens, "<|notimestamps|>")]
        self.spelt: list[list[str]] = []
        self.letters: list[str] = []
        self.register_buffer("suppressed", self._suppressed(), persistent=False)

    def for_classes(self, spelt: Sequence[Sequence[str]]) -> Self:
        """Set the spellings of classes, for classification."""
        self.spelt = [list(forms) for forms in spelt]
        self._owners = torch.tensor([k for k, forms in enumerate(self.spelt) for _ in forms])
        texts = [self._encoded(form) for forms in self.spelt for form in forms]
        self.tree = token_tree(self.prompt, texts, self.end)
        return self

    def for_letters(self, letters: Sequence[str]) -> Self:
        """Set the letters, the names of a transcript's outputs, for transcription."""
        self.letters = list(letters)
        return self

    def state(self) -> dict[str, Any]:
        """Return the plain values that :meth:`from_state` needs in addition to the weights."""
        return {"config": self.config, "tokeniser": self._json, "spelt": self.spelt, "letters": self.letters}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild it with random weights."""
        made = cls(state["config"], state["tokeniser"])
        return made.for_letters(state["letters"]) if state["letters"] else made.for_classes(state["spelt"])

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """Decode each recording separately, since the decoder does not accept a mask of the encoder's states."""
        frames = features.ne(0).any(-1).sum(1).tolist()
        heard = [features[i : i + 1, : max(1, count)] for i, count in enumerate(frames)]
        if self.spelt:
            return torch.stack([self.class_scores(states) for states in heard])
        return _stacked([self._outputs(*self.transcribe(states)) for states in heard]).to(features)

    def class_scores(self, states: Tensor) -> Tensor:
        """Compute the logarithms of the total probability of each class's spellings: ``(1, L, D) -> (C,)``."""
        tree, device = self.tree, states.device
        mask = torch.where(tree.seen, 0.0, torch.finfo(states.dtype).min).to(states)[None, None]
        seen = self.net(
            input_ids=tree.ids[None].to(device),
            attention_mask=mask,
            encoder_hidden_states=states,
            position_ids=tree.places[None].to(device),
        ).last_hidden_state[0]
        log_p = (seen @ self.net.embed_tokens.weight.T).log_softmax(-1)
        before, tokens, texts = tree.steps.to(device)
        scores = log_p.new_zeros(len(self._owners)).index_add(0, texts, log_p[before, tokens])
        owners = self._owners.to(device)
        return torch.stack([scores[owners == k].logsumexp(0) for k in range(len(self.spelt))])

    def transcribe(self, states: Tensor) -> tuple[str, float]:
        """Transcribe: return the text and the mean probability of its tokens.

        Decoding is greedy. As published (section 4.5), it is repeated with samples of rising temperature while the text
        repeats itself (its length exceeds 2.4 times that of its compressed form) or its mean log-probability is below
        -1. Remarks, special tokens and empty transcripts are suppressed, as in the published decoding.
        """
        draw = torch.Generator().manual_seed(0)
        found = [self._decoded(states, 0.0, draw)]
        for temperature in _TEMPERATURES:
            text, log_p = found[-1]
            if repetition(text) <= _REPEATS and log_p >= _UNSURE:
                break
            found.append(self._decoded(states, temperature, draw))
        text, log_p = found[-1]
        return text, math.exp(log_p)

    def _decoded(self, states: Tensor, temperature: float, draw: torch.Generator) -> tuple[str, float]:
        """Decode once, greedily at temperature 0; return the text and the mean log-probability of its tokens."""
        from transformers import DynamicCache, EncoderDecoderCache

        name = "cache" if "cache" in inspect.signature(self.net.forward).parameters else "past_key_values"
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        given, written, sure = self.prompt, [], []
        for step in range(int(self.net.max_target_positions) // 2):
            out = self.net(
                input_ids=torch.tensor([given], device=states.device),
                encoder_hidden_states=states,
                use_cache=True,
                **{name: cache},
            ).last_hidden_state[0, -1]
            logits = (self.net.embed_tokens.weight @ out).masked_fill(self.suppressed, -torch.inf)
            if step == 0:
                logits[self.end] = -torch.inf
            log_p = logits.log_softmax(0)
            token = int(log_p.argmax())
            if temperature:
                token = int((logits.float().cpu() / temperature).softmax(0).multinomial(1, generator=draw))
            sure.append(float(log_p[token]))
            if token == self.end:
                break
            written.append(token)
            given = written[-1:]
        return self.tokeniser.decode(written), sum(sure) / len(sure)

    def _outputs(self, text: str, sure: float) -> Tensor:
        """Write a text as outputs ``(L, C)`` whose most probable path collapses to it."""
        known = {letter: number for number, letter in enumerate(self.letters) if number > 1}
        letters = [known.get(letter, 1) for letter in plain_text(text)]
        path = path_of(letters, max(1, 2 * len(letters)))
        p = min(max(sure, _LEAST), 1 - 1e-6)
        outputs = torch.full((len(path), len(self.letters)), (1 - p) / (len(self.letters) - 1)).log()
        outputs[torch.arange(len(path)), path] = torch.tensor(p).log()
        return outputs

    def _encoded(self, text: str) -> list[int]:
        return list(self.tokeniser.encode(text, add_special_tokens=False).ids)

    def _special(self, name: str) -> int:
        number = self.tokeniser.token_to_id(name)
        if number is None or number >= self.vocabulary:
            raise UserError(f"the tokeniser of Whisper has no token {name}: give the folder of a complete model")
        return int(number)

    def _suppressed(self) -> Tensor:
        """Mark special tokens except the end token, and tokens with signs of remarks, ``(V,)``."""
        texts = self.tokeniser.decode_batch([[k] for k in range(self.vocabulary)], skip_special_tokens=False)
        marked = [any(sign in text for sign in _SIGNS) for text in texts]
        marked[self.end] = False
        return torch.tensor(marked)


def repetition(text: str) -> float:
    """Length of a text divided by that of its compressed form, which is above 2 if the text repeats itself.

    Examples:
        >>> repetition("five eight one") < 1, repetition("five " * 50) > 10
        (True, True)
    """
    written = text.encode()
    return len(written) / len(zlib.compress(written))


def _stacked(parts: list[Tensor]) -> Tensor:
    longest = max(len(part) for part in parts)
    silent = torch.full((parts[0].shape[1],), SILENT)
    silent[BLANK] = 0.0
    return torch.stack([torch.cat([part, silent.expand(longest - len(part), -1)]) for part in parts])
