"""What every adaptation has of its base class."""

from tl_lab.domain_adaptation.base import DomainAdaptation


class _Own(DomainAdaptation):
    def __init__(self, weight: float = 0.25, table: tuple[int, ...] = (1, 2), lost: int = 3) -> None:
        super().__init__()
        self.weight, self.table = weight, table


def test_the_banner_shows_the_stored_arguments_of_a_method() -> None:
    assert _Own().extra_repr() == "weight=0.25"
