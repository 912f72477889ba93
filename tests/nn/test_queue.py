import pytest
import torch
import torch.nn.functional as F

from ssl_seg.nn.queue import Queue


def vectors(count, seed):
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))


def test_it_starts_with_random_unit_vectors():
    queue = Queue(50, 4)
    torch.testing.assert_close(queue.rows.norm(dim=1), torch.ones(50))
    assert len(queue.rows.unique(dim=0)) == 50


@pytest.mark.parametrize("sizes", [(3, 3, 3), (10,), (4, 13), (25, 2), (1,) * 12])
def test_it_holds_the_newest_in_a_ring(sizes):
    queue = Queue(10, 4)
    expected, end = queue.rows.clone(), 0
    for step, size in enumerate(sizes):
        rows = vectors(size, step)
        queue.push(rows)
        queue.advance()
        for row in F.normalize(rows, dim=1):
            expected[end % 10] = row
            end += 1
    torch.testing.assert_close(queue.rows, expected)
    assert queue.count == sum(sizes)


def test_what_is_pushed_is_seen_by_the_next_step():
    queue = Queue(6, 4)
    before = queue.rows.clone()
    queue.push(vectors(2, 0))
    queue.push(vectors(2, 1))
    assert torch.equal(queue.rows, before)
    queue.advance()
    torch.testing.assert_close(queue.rows[:4], F.normalize(torch.cat([vectors(2, 0), vectors(2, 1)]), dim=1))
    queue.advance()
    assert queue.count == 4, "nothing is written twice"


def test_a_checkpoint_holds_it():
    one, two = Queue(6, 4), Queue(6, 4)
    one.push(vectors(4, 0))
    one.advance()
    two.load_state_dict(one.state_dict())
    for queue in (one, two):
        queue.push(vectors(4, 1))
        queue.advance()
    assert torch.equal(one.rows, two.rows) and two.count == 8
