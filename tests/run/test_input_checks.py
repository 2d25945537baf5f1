"""Backbones and data with mismatched inputs are refused in one sentence."""

import re

import pytest

from tl_lab.config import choices, compose
from tl_lab.config.instantiate import class_of
from tl_lab.config.nodes import read_node
from tl_lab.errors import UserError
from tl_lab.run.build import build
from tl_lab.run.pairing import check_modality, check_pairing
from tl_lab.run.plan import Plan

TAKES = {name: set(class_of(read_node(file)).modalities) for name, file in choices("backbone")["backbone"].items()}
"""Modalities of backbones."""
DATA = {
    "digits": "image",
    "printed_to_handwritten": "image",
    "image_folder": "image",
    "split_digits": "image",
    "episodes_of": "image",
    "moons": "vector",
    "amazon_reviews": "vector",
    "sst2": "text",
    "adult": "table",
    "spoken_digits": "audio",
    "receipts": "tokens_with_boxes",
    "xquad": "passage",
}
REPRESENTATIVES = {frozenset(TAKES[name]): name for name in sorted(choices("backbone")["backbone"])}
"""A backbone for each set of modalities."""
ONE_EACH = {kind: name for name, kind in reversed(DATA.items())}
"""Data of each modality; sets that wrap others are tried with one backbone that they refuse and one that they take."""
TRIED = [(name, backbone) for name in ONE_EACH.values() for backbone in REPRESENTATIVES.values()]
TRIED += [(name, backbone) for name in DATA if name not in ONE_EACH.values() for backbone in ("mlp", "hf_text")]


def test_backbones_state_their_modalities():
    assert TAKES["mlp"] == {"image", "vector", "table"}
    assert TAKES["ft_transformer"] == {"table"}
    assert TAKES["hf_text"] == TAKES["word_vectors"] == {"text"}
    assert TAKES["whisper"] == TAKES["audio_cnn"] == TAKES["wav2vec2"] == {"audio"}
    assert TAKES["layout_text"] == {"tokens_with_boxes"}
    assert TAKES["hf_words"] == {"passage"}
    assert TAKES["lenet"] == TAKES["conv4"] == TAKES["timm"] == TAKES["torchvision"] == {"image"}


@pytest.mark.parametrize(("data", "backbone"), TRIED)
def test_a_modality_that_a_backbone_does_not_take_is_refused_before_data_are_read(backbone, data):
    cfg = compose([f"backbone={backbone}", f"data={data}", "domain_adaptation=none"])
    kind, takes = DATA[data], TAKES[backbone]
    if kind in takes:
        check_modality(Plan.of(cfg))
        return
    with pytest.raises(UserError) as refused:
        build(Plan.of(cfg))  # no data lie anywhere
    message = str(refused.value)
    assert any(f"takes {one}" in message for one in takes)
    valid = [name for name in choices("backbone")["backbone"] if kind in TAKES[name]]
    assert f"has {kind} inputs; valid: {', '.join(f'backbone={name}' for name in sorted(valid))}" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=digits", "backbone=conv4", "backbone.in_channels=4"], "images of 4 channels, but the data have 1"),
        (["data=moons", "backbone=mlp", "backbone.in_channels=3"], "vectors of length 3, but the data have length 2"),
        (["data=digits", "backbone=mlp", "backbone.in_channels=5"], "images of 5 channels, but the data have 1"),
        (["data=digits", "backbone=mlp", "backbone.input_size=[1,1]"], "the data are images of 8x8 pixels"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_once_the_data_are_read(overrides, message):
    with pytest.raises(UserError, match=message):
        build(Plan.of(compose(["domain_adaptation=none", *overrides])))


def test_channels_that_can_be_brought_together_are_no_mistake():
    cfg = compose(["domain_adaptation=none", "data=digits", "backbone=conv4", "backbone.in_channels=3"])
    parts = build(Plan.of(cfg))
    assert parts.data.sets["train"].x.shape[1] == 3


LEARN_PLACES = {"adapter_tuning", "feature_extraction", "fine_tuning", "from_scratch", "partial_tuning"}
"""Strategies that learn labels of words, spans and transcripts; zero-shot decodes transcripts alone."""


@pytest.mark.parametrize(
    ("data", "backbone", "problem"),
    [
        ("receipts", "layout_text", "sequence"),
        ("xquad", "hf_words", "spans"),
        ("speech_table", "whisper", "transcript"),
    ],
)
def test_words_and_frames_are_learned_or_refused(data, backbone, problem):
    passed, refusals = set(), {}
    # one of each kind: a refusal lists all that would fit, which takes long
    others = ["ewc", "lwf", "prototypical", "maml", "distillation", "setfit", "multi_task", "prompting", "pretraining"]
    for strategy in [*sorted(LEARN_PLACES), "zero_shot", *(others if problem == "sequence" else others[:1])]:
        overrides = [f"data={data}", f"backbone={backbone}", f"strategy={strategy}", "domain_adaptation=none"]
        adapter = ["adapter=bitfit"] if strategy == "adapter_tuning" else []
        try:
            check_pairing(Plan.of(compose([*overrides, *adapter])))
            passed.add(strategy)
        except UserError as refused:
            refusals[strategy] = str(refused)
    for message in refusals.values():
        assert re.fullmatch(r"strategy=\w+ (supports .* problems|needs data with).*; valid: .*", message)
    assert passed == LEARN_PLACES | ({"zero_shot"} if problem == "transcript" else set())


@pytest.mark.parametrize("adaptation", sorted(choices("domain_adaptation")["domain_adaptation"]))
def test_labels_of_words_are_not_aligned(adaptation):
    cfg = compose(["data=receipts", "backbone=layout_text", f"domain_adaptation={adaptation}"])
    if adaptation in ("none", "auto"):
        check_pairing(Plan.of(cfg))
        return
    with pytest.raises(UserError, match=r" is sequence; valid: domain_adaptation=none$"):
        check_pairing(Plan.of(cfg))


@pytest.mark.parametrize("group", ["strategy", "domain_adaptation"])
def test_every_method_states_its_problems(group):
    for name, file in choices(group)[group].items():
        if name != "auto":
            kind = class_of(read_node(file))
            stating = next(one for one in kind.__mro__ if "problems" in vars(one))
            assert stating.__name__ not in ("Strategy", "DomainAdaptation"), name
