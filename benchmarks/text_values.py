"""Known values of the packaged text weights: similarity on STS-B, and linear probes on SST-2.

    TL_LAB_DATA=<data sets> uv run python benchmarks/text_values.py

STS-B's test part: Spearman correlation of MiniLM's cosines with people's scores (Sentence Transformers states .8203).
SST-2's test part: a logistic regression on the mean of GloVe vectors of 20,000 sentences, and on MiniLM's frozen
features of 2,000; three draws each. Writes docs/results/text_values.json.
"""

import warnings
from datetime import date
from pathlib import Path

import torch
from scipy.stats import spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from tl_lab.backbones.hf_text import HFText
from tl_lab.config import compose
from tl_lab.data.inputs.texts import Texts
from tl_lab.data.request import Request
from tl_lab.model.network import Network
from tl_lab.results.folder.files import write_json
from tl_lab.run.build import Parts, build
from tl_lab.run.plan import Plan
from tl_lab.training.feature_reader import FeatureReader

RESULT = Path(__file__).resolve().parent.parent / "docs" / "results" / "text_values.json"
SEEDS = (0, 1, 2)


def parts_of(*overrides: str) -> Parts:
    """Build data and a frozen backbone as a run would."""
    return build(Plan.of(compose(["strategy=feature_extraction", "strategy.bottleneck=null", *overrides])))


def features(parts: Parts, name: str) -> Tensor:
    """Read the backbone's features of a set, ``(N, D)``."""
    network: Network = parts.strategy.network
    return FeatureReader(network, parts.data).read(name, "backbone", cached=False).cpu()


def similarity() -> float:
    """Correlate MiniLM's cosines with the scores of STS-B's test pairs."""
    plan = Plan.of(compose(["data=stsb", "backbone=hf_text"]))
    data = plan.data.build()
    data.load(Request())
    test = data.sets["test"]
    assert isinstance(test.x, Texts)
    assert test.y is not None
    backbone = HFText().eval()
    spec = backbone.spec
    sides = []
    for side in (0, 1):
        texts = [item[side] for item in test.x.items]
        with torch.no_grad():
            parts = [backbone(spec.fit(texts[start : start + 64])) for start in range(0, len(texts), 64)]
        sides.append(torch.cat(parts))
    cosines = torch.cosine_similarity(sides[0], sides[1])
    return float(spearmanr(cosines.numpy(), test.y[:, 0].numpy()).statistic)


def probed(backbone: str, labels: int) -> list[float]:
    """Give test accuracies of logistic regressions on frozen features, by draw."""
    found = []
    for seed in SEEDS:
        parts = parts_of("data=sst2", f"backbone={backbone}", f"data.labels={labels}", f"seed={seed}")
        data = parts.data
        x, z = (features(parts, name) for name in ("train", "test"))
        y, w = data.sets["train"].y, data.sets["test"].y
        assert y is not None
        assert w is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(max_iter=1000).fit(x.numpy(), y.numpy())
        found.append(float(model.score(z.numpy(), w.numpy())))
    return found


def main() -> None:
    """Measure, print and store."""
    found = {
        "stsb_spearman": similarity(),
        "glove_20000": probed("word_vectors", 20_000),
        "minilm_2000": probed("hf_text", 2_000),
        "seeds": list(SEEDS),
        "date": date.today().isoformat(),
        "torch": torch.__version__.split("+")[0],
    }
    print(found)
    write_json(RESULT, found)


if __name__ == "__main__":
    main()
