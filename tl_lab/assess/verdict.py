"""Three sentences: whether to transfer, from what and how, and whether to trust the result."""

from collections.abc import Mapping
from typing import Literal

from tl_lab.assess.material import RAW, Material
from tl_lab.assess.results import Measure, NotApplicable, PartResult
from tl_lab.assess.transferability import TREES
from tl_lab.data.sets.columns import names_in
from tl_lab.texts import listed

__all__ = ["verdict"]

Parts = Mapping[str, PartResult | NotApplicable]
Finding = Literal["helps", "does not help", "undecided", "random weights", "not measured"]
_DRIFT = {
    "drift": "the data have drifted",
    "no drift": "no drift is detected",
    "undecided": "there are too few samples to detect drift",
}


def verdict(material: Material, parts: Parts) -> list[str]:
    """Sum an assessment up.

    Args:
        material: of the assessment.
        parts: results by part.

    Returns:
        Three sentences, each with its confidence; fewer where fewer parts have something to say.
    """
    finding, whether = _whether(material, parts)
    sentences = [whether, _how(material, parts, finding), _trust(material, parts)]
    found = [one for one in sentences if one]
    for part in parts.values():  # with a single part, its own sentence is the verdict
        if len(found) < 1 and isinstance(part, PartResult):
            found.append(_with(part.sentence, part.confidence))
    return found or ["No part of the assessment applies to these data."]


def _whether(material: Material, parts: Parts) -> tuple[Finding, str]:
    """Say whether to transfer, with the finding that the advice on how to do it must follow."""
    ranking, similarity = parts.get("transferability"), parts.get("similarity")
    if isinstance(ranking, PartResult):
        gains = {
            one.name: ranking.measures[f"{one.name}/gain"]
            for one in material.subjects
            if one.learned and f"{one.name}/gain" in ranking.measures
        }
        if gains:
            best = max(gains, key=lambda name: gains[name].value)
            gain = gains[best]
            points = gain.points()
            if (gain.low or 0) > 0:
                return "helps", _with(
                    f"**Transfer helps**: a probe on {best} is better than one on the raw inputs by {points}.", "high"
                )
            if (gain.high or 0) < 0:
                return "does not help", _with(
                    f"**Transfer does not help**: a probe on {best} is worse than one on the raw inputs by {points}.",
                    "high",
                )
            return "undecided", _with(
                f"**It is undecided whether transfer helps**: a probe on {best} differs from one on the raw inputs by "
                f"{points}.",
                "low",
            )
        untaught = [one.name for one in material.subjects if not one.learned]
        if len(untaught) == len(material.subjects):
            near = _nearness(similarity) if material.paired else ""
            verb = "has" if len(untaught) == 1 else "have"
            return "random weights", _with(
                f"**Nothing is transferred yet**: {', '.join(untaught)} {verb} random weights{near}.",
                "high",
            )
    said = _with(similarity.sentence, similarity.confidence) if isinstance(similarity, PartResult) else ""
    return "not measured", said


def _nearness(similarity: PartResult | NotApplicable | None) -> str:
    if not isinstance(similarity, PartResult):
        return ""
    found = next((m for name, m in similarity.measures.items() if name.endswith("/a_distance")), None)
    return "" if found is None else f"; the two sets are {found.text(1)} of 2 apart by the proxy A-distance"


def _how(material: Material, parts: Parts, finding: Finding) -> str:
    """Say how to train, as the finding on transfer allows: never by frozen features that are random or no better."""
    ranking, size = parts.get("transferability"), parts.get("data_size")
    scratch = "train from scratch (`strategy=from_scratch`)"
    rule = ""
    if isinstance(size, PartResult) and size.facts["rule"]:
        rule = f"{size.facts['rule']} (the rule of thumb for {size.measures['labels'].value:,.0f} labels)"
    trees, confidence = "", "moderate"
    best = ""
    if isinstance(ranking, PartResult):
        best, confidence = _best(material, ranking, finding), ranking.confidence
        trees = _trees(ranking)
    if finding == "random weights":
        advice = (
            f"{scratch}, or give trained weights (`backbone.weights`, `backbone.pretrained=true` or `init_from=<run>`)"
        )
        confidence = "moderate"
    elif finding == "does not help":
        advice, confidence = f"{scratch}, or choose another backbone", "moderate"
    elif finding == "undecided":
        advice = f"compare two runs: {scratch}; and {' and '.join(filter(None, [f'take {best}', rule]))}"
        confidence = "low"
    else:
        several = len(material.subjects) > 1
        named = (f"take {best}" if several else f"with {best}") if best else ""
        advice = ", ".join(filter(None, [named, rule]))
    return _with(f"**How**: {advice}.{trees}", confidence) if advice else ""


def _best(material: Material, ranking: PartResult, finding: Finding) -> str:
    """Return the backbone that LogME ranks first of those with trained weights, and that transfer helps with."""
    names = [name for name in ranking.facts["ranking"] if name != RAW]
    learned = [one.name for one in material.subjects if one.learned]
    names = [name for name in names if name in learned] or names
    if finding == "helps":
        names = [name for name in names if (ranking.measures[f"{name}/gain"].low or 0) > 0]
    return names[0]


def _trees(ranking: PartResult) -> str:
    """Compare gradient-boosted trees with the best probe, where they were fitted."""
    trees = ranking.measures.get(TREES)
    if trees is None:
        return ""
    name, probe = max(
        ((key.removesuffix("/probe"), one) for key, one in ranking.measures.items() if key.endswith("/probe")),
        key=lambda pair: pair[1].value,
    )
    return (
        f" Gradient-boosted trees, the baseline on tables, reach {trees.text(percent=True)} on validation data; the "
        f"best linear probe ({name}) reaches {probe.text(percent=True)}."
    )


def _trust(material: Material, parts: Parts) -> str:
    held_out, drift, bias = (parts.get(name) for name in ("calibration", "drift", "bias"))
    phrases, confidence = [], "moderate"
    if isinstance(held_out, PartResult):
        name = material.deployment or material.test
        accuracy: Measure = held_out.measures[f"{name}/accuracy"]
        phrases.append(f"expect {accuracy.text(percent=True)} on {material.display_name(str(name))}")
        ece = held_out.measures[f"{name}/ece"]
        sound = (ece.p or 0) >= material.options.alpha
        off = f"with a calibration error of {ece.text(percent=True)}"
        phrases.append("with calibrated confidence" if sound else off)
        confidence = held_out.confidence
    if isinstance(drift, PartResult):
        phrases.append(_DRIFT[drift.facts["verdicts"][str(material.deployment or material.test)]])
    if isinstance(bias, PartResult):
        gaps = {key: m for key, m in bias.measures.items() if key.endswith("/difference/fpr") and m.value == m.value}
        if gaps:
            widest = max(gaps, key=lambda key: gaps[key].value)
            column, _, decision = widest.removesuffix("/difference/fpr").partition("/")
            named = column
            if column == "group":
                named = " and ".join(names_in(material.plan.data.option("group_column")))
            decided = f"the {decision}" if decision.startswith("given") else decision
            phrases.append(
                f"the false positive rate of {decided} differs by up to {gaps[widest].times(100).text(0)} points "
                f"between groups{f' of {named}' if named else ''}"
            )
    return _with(f"**Trust**: {listed(phrases)}.", confidence) if phrases else ""


def _with(sentence: str, confidence: str) -> str:
    return f"{sentence} (confidence: {confidence})"
