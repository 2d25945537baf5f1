"""Token dropout: the share, the tokens that stay, the draw, and the refusals."""

import pytest
import torch
from laboratory import fit
from tokens_at_hand import Sentences, make

from tl_lab.data.inputs.token_dropout import TokenDropout, drop_tokens
from tl_lab.data.inputs.tokenisers import FastTokeniser, Words
from tl_lab.data.inputs.tokens import TokenSpec
from tl_lab.data.inputs.vector import VectorSpec
from tl_lab.errors import UserError
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.strategies.feature_extraction import FeatureExtraction
from tl_lab.strategies.from_scratch import FromScratch

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def tokeniser() -> FastTokeniser:
    """Give a tokeniser of three words with BERT's special tokens, whose ids are 0 to 4."""
    tokenizers = pytest.importorskip("tokenizers", reason="tl_lab[text] is not installed")
    words = {word: i for i, word in enumerate([*SPECIAL, "a", "b", "c"])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.add_special_tokens(SPECIAL)
    made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return FastTokeniser(made.to_str())


def changed(change: TokenDropout, x: dict[str, torch.Tensor], seed: int = 0) -> dict[str, torch.Tensor]:
    return change(x, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("replacement", "substitute"), [("unknown", 1), ("mask", 4), ("hidden", None)])
def test_the_share_of_tokens_is_dropped_and_special_tokens_stay(replacement, substitute):
    spec = TokenSpec(8, 64, 0, tokeniser())
    x = spec.fit(["a b c " * 10] * 200 + ["a"] * 20)
    change = TokenDropout(0.3, replacement)
    change.use(spec)
    ids, mask = (changed(change, x)[name] for name in ("ids", "mask"))
    text = x["ids"] > 4
    lost = ids != x["ids"] if substitute is not None else mask != x["mask"]
    assert not lost[~text].any()  # [CLS], [SEP] and padding
    count = int(text.sum())  # 6,020: the share lies within four deviations of a binomial
    assert float(lost.sum()) / count == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / count) ** 0.5)
    if substitute is None:
        assert torch.equal(ids, x["ids"])
    else:
        assert (ids[lost] == substitute).all()
        assert torch.equal(mask, x["mask"])


def test_the_first_token_stays_if_all_would_be_hidden():
    x = {"ids": torch.tensor([[5, 6, 0], [5, 6, 7]]), "mask": torch.tensor([[1, 1, 0], [1, 1, 1]])}
    dropped = torch.tensor([[True, True, True], [True, False, True]])
    assert drop_tokens(x, dropped, None)["mask"].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert drop_tokens(x, dropped, 1)["ids"].tolist() == [[1, 1, 0], [1, 6, 1]]
    assert x["ids"].tolist() == [[5, 6, 0], [5, 6, 7]]


def test_each_epoch_draws_anew_by_the_seed_and_only_for_training():
    def epochs(seed: int) -> list[torch.Tensor]:
        data, _ = make(FromScratch, Sentences(batch_size=60, seed=seed, augmentation=TokenDropout(0.5, "hidden")))
        loader, kept = data.train_dataloader(), []
        for epoch in (0, 1, 0):
            loader.set_epoch(epoch)
            batch = next(iter(loader))
            kept.append(batch.x["mask"][batch.index.argsort()])
        whole = data.sets["train"].x["mask"]
        assert all((mask <= whole).all() and mask.any(1).all() for mask in kept)
        plain = next(iter(data.loader("train"))).x["mask"]
        assert torch.equal(plain, whole)
        return kept

    first, second, again = epochs(0)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert torch.equal(epochs(0)[1], second)


def test_a_network_learns_from_texts_without_some_of_their_tokens():
    data, model = make(FromScratch, Sentences(batch_size=20, augmentation=TokenDropout(0.3, "hidden")))
    trainer = fit(data, model, epochs=8)
    trainer.test(model, datamodule=data, verbose=False)
    assert model.last_test["test/acc"] == 1.0


def test_cached_features_and_other_inputs_are_refused():
    change = TokenDropout(0.3, "hidden")
    data, model = make(FeatureExtraction, Sentences(batch_size=20, augmentation=change), layers=LayerPolicy("none"))
    with pytest.raises(UserError, match=r"randomly augmented texts .* strategy\.cache=false"):
        fit(data, model)
    with pytest.raises(UserError, match="augmentation changes texts, but these data are vector"):
        change.use(VectorSpec(3))


def test_a_replacement_that_the_backbone_lacks_is_refused():
    words = TokenSpec(3, 8, 0, Words(["film"]))
    TokenDropout(0.1, "unknown").use(words)
    for replacement in ("mask", "hidden"):
        with pytest.raises(UserError, match=f"replacement={replacement} is not .*; valid: unknown$"):
            TokenDropout(0.1, replacement).use(words)
    with pytest.raises(UserError, match=r"augmentation\.share must be in"):
        TokenDropout(1.0)
    with pytest.raises(UserError, match="hidden"):
        TokenDropout(0.1, "hiden")
