"""Names of domain pairs."""

import pytest

from tl_lab.data.sets.pairs import name_pair
from tl_lab.errors import UserError

DOMAINS = ("amazon", "caltech10", "dslr", "webcam")


def test_one_word_two_words_and_several_sources():
    assert name_pair("amazon_to_webcam", "dslr", "caltech10", DOMAINS) == (["amazon"], "webcam")
    assert name_pair(None, "dslr", "caltech10", DOMAINS) == (["dslr"], "caltech10")
    assert name_pair(None, ["dslr", "amazon"], "webcam", DOMAINS) == (["dslr", "amazon"], "webcam")
    assert name_pair("amazon+dslr_to_webcam", None, None, DOMAINS) == (["amazon", "dslr"], "webcam")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("amazon->webcam", None, None), "SOURCE_to_TARGET"),
        (("amazon_to_webcm", None, None), "did you mean 'webcam'"),
        ((None, "amazon", None), r"data\.source and data\.target must be set"),
        ((None, [], "webcam"), r"data\.source and data\.target must be set"),
        (("webcam_to_webcam", None, None), "is both source and target"),
        ((None, ["webcam", "dslr"], "dslr"), "is both source and target"),
        (("dslr+dslr_to_webcam", None, None), "contains a domain twice"),
    ],
)
def test_wrong_names_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        name_pair(*given, DOMAINS)
