"""Word vectors in context: the neighbours of "bank" by GloVe, and in two sentences by a text encoder.

    python examples/word_in_context.py
    python examples/word_in_context.py --word spring --contexts "water came from the spring" "the snow melts in spring"

GloVe has one vector for each word. An encoder's vector of a word depends on its sentence, and so do its neighbours
among the words of 400 news texts (AG News, from TL_LAB_DATA). The script prints them and writes word_in_context.png.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import Tensor

from tl_lab.backbones.hf_text import HFText
from tl_lab.backbones.word_vectors import WordVectors
from tl_lab.data.roots import find_root
from tl_lab.results.figures.drawing import PALETTE, STYLE, save_figures

BANK = ("she sat down on the bank of the river", "he took his money to the bank")
_MOST, _TEXTS = 8, 400
Neighbours = list[tuple[str, float]]


def main() -> None:
    """Find the neighbours, print and draw them."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--word", default="bank", help="a word that all contexts contain")
    options.add_argument("--contexts", nargs="+", default=BANK, help="sentences")
    options.add_argument("--output", type=Path, default=Path(), help="folder of the picture")
    chosen = options.parse_args()
    columns = {f"GloVe: {chosen.word!r} anywhere": static_neighbours(chosen.word)}
    encoder = HFText().eval()
    words, vectors = contextual_vectors(encoder, news(_TEXTS))
    for context in chosen.contexts:
        columns[f"MiniLM: {context}"] = nearest(word_in(encoder, context, chosen.word), words, vectors, chosen.word)
    for heading, neighbours in columns.items():
        print(heading, *(f"  {word:16} {cosine:.2f}" for word, cosine in neighbours), sep="\n")
    print(save_figures({"word_in_context": drawn(columns)}, chosen.output)[0])


def static_neighbours(word: str) -> Neighbours:
    """Give the words whose vectors have the largest cosines with a word's."""
    backbone = WordVectors()
    tokeniser = backbone.spec.tokeniser
    words, vectors = list(tokeniser.words), backbone.vectors.weight.detach()[tokeniser.RESERVED :]
    return nearest(vectors[words.index(word)], words, vectors, word)


def news(count: int) -> list[str]:
    """Read the first descriptions of AG News' training sample."""
    path = find_root(None, "AG News", "put text/ag_news/train_10k.tsv there") / "text" / "ag_news" / "train_10k.tsv"
    return [line.split("\t")[0].lower() for line in path.read_text(encoding="utf-8").splitlines()[:count]]


@torch.no_grad()
def states_of(encoder: HFText, text: str) -> tuple[list[str], Tensor]:
    """Give a text's words that are one token each, and the encoder's last states at their places, ``(W, D)``."""
    tokeniser = encoder.spec.tokeniser
    words = text.replace(",", " ").replace(".", " ").split()
    ids, places = tokeniser.encode_words(words, encoder.spec.max_length)
    inputs = encoder.spec.padded([ids])
    states = encoder.net(input_ids=inputs["ids"], attention_mask=inputs["mask"]).last_hidden_state[0]
    whole = [i for i, place in enumerate(places) if place is not None and places.count(place) == 1]
    return [words[places[i]] for i in whole], states[whole]


def contextual_vectors(encoder: HFText, texts: Sequence[str]) -> tuple[list[str], Tensor]:
    """Give every whole word of some texts with its state there."""
    found = [states_of(encoder, text) for text in texts]
    return [word for words, _ in found for word in words], torch.cat([states for _, states in found])


def word_in(encoder: HFText, context: str, word: str) -> Tensor:
    """Give the state of a word in a sentence, ``(D,)``."""
    words, states = states_of(encoder, context)
    return states[words.index(word)]


def nearest(vector: Tensor, words: Sequence[str], vectors: Tensor, word: str) -> Neighbours:
    """Give the words of the largest cosines with a vector, each once, without the word itself."""
    cosines = torch.nn.functional.cosine_similarity(vectors, vector[None])
    found: dict[str, float] = {}
    for place in cosines.argsort(descending=True).tolist():
        if words[place] != word and words[place].isalpha() and len(words[place]) > 2:
            found.setdefault(words[place], float(cosines[place]))
        if len(found) == _MOST:
            break
    return list(found.items())


@matplotlib.rc_context(STYLE)
def drawn(columns: dict[str, Neighbours]) -> Figure:
    """Draw the neighbours as bars, a panel each."""
    figure = Figure(figsize=(3.6 * len(columns), 3.4), layout="constrained")
    for ax, (heading, neighbours), colour in zip(
        figure.subplots(1, len(columns), squeeze=False)[0], columns.items(), PALETTE, strict=False
    ):
        names, cosines = zip(*reversed(neighbours), strict=True)
        ax.barh(names, cosines, color=colour, height=0.7)
        ax.set_title(heading.replace(": ", "\n", 1), fontsize=9)
        ax.set_xlim(0, 1)
        ax.set_xlabel("cosine")
        ax.grid(False)
    return figure


if __name__ == "__main__":
    main()
