import pytest

from tl_lab.watching.health import Health, reading


def said(**facts):
    return reading(Health(**facts))


APART = {"a_distance_start": 1.8, "a_distance": 1.7, "linear_acc": 0.925}


def test_without_adaptation_the_shift_is_stated():
    assert said(adapts=False, **APART, source_score=0.5, best_source_score=0.9) == (
        "without adaptation the domains' A-distance is 1.80 -> 1.70 (accuracy of a linear domain classifier: .93)"
    )


def test_a_discriminator_that_guesses_has_collapsed():
    text = said(**APART, discriminator_acc=0.5)
    assert text == (
        "the discriminator has collapsed (accuracy .50) although a linear classifier tells the domains apart (.93): "
        "the adversary does nothing"
    )
    assert "collapsed" in said(**{**APART, "linear_acc": 0.75}, discriminator_acc=0.55)
    assert "collapsed" not in said(**APART, discriminator_acc=0.56)
    # a discriminator that guesses because the domains are one has done its work
    assert said(a_distance_start=1.8, a_distance=0.96, linear_acc=0.74, discriminator_acc=0.5).startswith("aligned")


def test_a_discriminator_that_is_always_right_wins():
    text = said(a_distance_start=1.8, a_distance=1.96, linear_acc=0.99, discriminator_acc=0.97)
    assert text.startswith("the discriminator wins (accuracy .97, A-distance 1.80 -> 1.96)")
    assert "wins" not in said(a_distance_start=1.8, a_distance=1.96, linear_acc=0.99, discriminator_acc=0.94)


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        (1.8, 1.7, "the domains are still separable (A-distance 1.80 -> 1.70): alignment had little effect on that"),
        (1.8, 1.2, "the domains came closer but are still separable (A-distance 1.80 -> 1.20)"),
        (1.2, 1.8, "the domains moved apart (A-distance 1.20 -> 1.80): alignment does not hold against the task"),
        (1.8, 0.4, "aligned: A-distance 1.80 -> 0.40"),
        (0.3, 0.4, "the domains were hardly apart before training, nor are they now: A-distance 0.30 -> 0.40"),
        (None, 1.7, "the domains are separable (A-distance 1.70)"),
        (None, 0.7, "aligned: A-distance 0.70"),
    ],
)
def test_the_distance_says_what_alignment_did(start, end, text):
    assert said(a_distance_start=start, a_distance=end) == text


def test_the_source_stays_or_falls():
    aligned = {"a_distance_start": 1.8, "a_distance": 0.4}
    assert said(**aligned, source_score=0.99, best_source_score=0.995).endswith("; source validation stayed at .99")
    assert said(**aligned, source_score=0.8, best_source_score=0.99).endswith(
        "; source validation fell from .99 to .80: over-alignment"
    )
    assert "fell from 1.00 to .90" in said(**APART, source_score=0.9, best_source_score=1.0)
    assert "source" not in said(**APART, source_score=0.99, best_source_score=0.99)
    assert "stayed" in said(**aligned, source_score=0.95, best_source_score=None)


def test_terms_that_are_too_loud_or_too_faint_are_named():
    loud = said(**APART, gradient_norms={"task_loss": 0.1, "mmd_loss": 4.0, "pull": 0.5})
    assert loud.endswith("; the gradient of the mmd loss is 40 times the task's: lower its weight")
    faint = said(**APART, gradient_norms={"task_loss": 1.0, "mmd_loss": 0.002})
    assert faint.endswith("; the gradient of the mmd loss is 0.002 of the task's: it hardly acts, raise its weight")
    aligned = {"a_distance": 0.4, "gradient_norms": {"task_loss": 1.0, "mmd_loss": 0.002}}
    assert "gradient" not in said(**aligned), "a faint term is enough where the domains are aligned"
    assert "gradient" not in said(**APART, gradient_norms={"task_loss": 1.0, "l2_penalty": 0.0})
    assert "gradient" not in said(**APART, gradient_norms={"task_loss": 0.0, "mmd_loss": 1.0})
    assert "gradient" not in said(**APART, gradient_norms={"mmd_loss": 1.0})


def test_few_samples_are_said():
    assert said(**APART, scored=15).endswith("; measured on 15 samples of each domain only: uncertain")
    assert "uncertain" not in said(**APART, scored=50)


def test_nothing_known_is_said_to_be_nothing():
    assert said() == said(adapts=False) == "nothing was measured"
