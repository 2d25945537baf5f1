import torch

from tl_lab.data.batches import DomainBatch, Labelled, Unlabelled
from tl_lab.data.loaders import BatchOrder, Loader, PairLoader
from tl_lab.data.samples import Samples


def order(**options):
    return BatchOrder(**{"count": 10, "batch_size": 4, "shuffle": True, "seed": 3, "name": "train", **options})


def test_training_order_is_a_function_of_seed_name_and_epoch():
    def batches(epoch=0, **options):
        return torch.cat(list(order(**options).epoch(epoch)))

    assert torch.equal(batches(), batches())
    for other in (batches(epoch=1), batches(seed=4), batches(name="target")):
        assert not torch.equal(batches(), other)
    assert len(batches()) == 8  # two full batches
    assert batches().unique().numel() == 8  # no sample twice in a pass


def test_a_fixed_number_of_batches_goes_through_whole_permutations():
    index = torch.cat(list(order(num_batches=5).epoch(0)))
    assert len(index) == 20
    assert torch.bincount(index).tolist() == [2] * 10


def test_processes_divide_the_batches_of_a_single_one():
    alone = list(order().epoch(2))
    shared = [list(order(rank=rank, world_size=2).epoch(2)) for rank in (0, 1)]
    for whole, *parts in zip(alone, *shared, strict=True):
        assert sorted(torch.cat(parts).tolist()) == sorted(whole.tolist())
        assert {len(part) for part in parts} == {2}


def test_evaluation_sees_everything_once_with_equal_numbers_of_batches():
    for count in (1, 5, 10, 13):
        for world_size in (1, 2, 3):
            if count < world_size:
                continue
            parts = [
                list(order(count=count, shuffle=False, rank=rank, world_size=world_size).epoch(0))
                for rank in range(world_size)
            ]
            assert len({len(part) for part in parts}) == 1
            assert all(len(batch) > 0 for part in parts for batch in part)
            seen = torch.cat([batch for part in parts for batch in part])
            assert sorted(seen.tolist()) == list(range(count))


def test_loader_gives_inputs_labels_and_indices_that_belong_together():
    samples = Samples(torch.arange(10.0).view(10, 1), torch.arange(10) % 3)
    for batch in Loader(samples, order()):
        assert isinstance(batch, Labelled)
        assert torch.equal(batch.x[:, 0].long(), batch.index)
        assert torch.equal(batch.y, batch.index % 3)


def test_set_epoch_changes_the_order():
    loader = Loader(Samples(torch.arange(10.0).view(10, 1), None), order())
    first = torch.cat([batch.index for batch in loader])
    loader.set_epoch(1)
    assert not torch.equal(first, torch.cat([batch.index for batch in loader]))
    loader.set_epoch(0)
    assert torch.equal(first, torch.cat([batch.index for batch in loader]))


def test_a_target_smaller_than_a_batch_fills_it_by_repetition():
    target = Loader(Samples(torch.randn(3, 2), None), order(count=3, name="target", num_batches=3))
    batches = list(target)
    assert [len(batch.x) for batch in batches] == [4, 4, 4]
    seen = torch.bincount(torch.cat([batch.index for batch in batches]))
    assert seen.tolist() == [4, 4, 4]


def test_pairs_are_of_equal_size_and_the_target_has_no_labels():
    source = Loader(Samples(torch.randn(10, 2), torch.zeros(10, dtype=torch.long)), order())
    target = Loader(Samples(torch.randn(7, 2), None), order(count=7, name="target", num_batches=2))
    batches = list(PairLoader(source, target))
    assert len(batches) == 2
    for batch in batches:
        assert isinstance(batch, DomainBatch)
        assert len(batch.source.x) == len(batch.target.x) == 4
        assert isinstance(batch.target, Unlabelled)
        assert not hasattr(batch.target, "y")


def test_batches_of_similar_lengths_hold_every_sample_once_in_an_order_of_their_own():
    lengths = torch.randint(3, 60, (1000,), generator=torch.Generator().manual_seed(0))
    options = {"count": 1000, "batch_size": 10}
    plain = list(order(**options).epoch(0))
    bucketed = list(order(**options, lengths=lengths).epoch(0))
    assert torch.cat(bucketed).sort()[0].equal(torch.arange(1000))

    def padded(batches):
        return sum(int(lengths[index].max()) * len(index) for index in batches)

    assert padded(bucketed) < 1.05 * int(lengths.sum()) < 1.5 * int(lengths.sum()) < padded(plain)
    longest = torch.tensor([int(lengths[index].max()) for index in bucketed])
    assert not longest.equal(longest.sort()[0])  # long batches come among short ones
    assert torch.cat(list(order(**options, lengths=lengths).epoch(0))).equal(torch.cat(bucketed))
    assert not torch.cat(list(order(**options, lengths=lengths).epoch(1))).equal(torch.cat(bucketed))


def test_processes_divide_batches_of_similar_lengths():
    lengths = torch.arange(10).flip(0)
    alone = list(order(lengths=lengths).epoch(2))
    shared = [list(order(rank=rank, world_size=2, lengths=lengths).epoch(2)) for rank in (0, 1)]
    for whole, *parts in zip(alone, *shared, strict=True):
        assert sorted(torch.cat(parts).tolist()) == sorted(whole.tolist())
