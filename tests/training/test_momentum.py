"""The queue of a momentum encoder, and gradients of a batch in parts, each against plain steps."""

import copy

import pytest
import torch
from torch import nn

from maclcore.training.gradcache import _buffers_kept, in_parts
from maclcore.training.momentum import MomentumQueue


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


# --- the queue -----------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 0.25, 0.999, 1.0])
def test_parameters_follow_and_the_network_does_not_move(momentum):
    net = network()
    queue = MomentumQueue(net, 4, 2, 3)
    start = copy.deepcopy(queue.encoder.state_dict())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter))
    net[1].running_mean.fill_(7.0)
    before = copy.deepcopy(net.state_dict())
    queue.follow(net, momentum)
    for name, value in queue.encoder.state_dict().items():
        expected = start[name]
        if name in dict(net.named_parameters()):
            expected = momentum * start[name] + (1 - momentum) * before[name]
        torch.testing.assert_close(value, expected)
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert not any(p.requires_grad for p in queue.encoder.parameters())


def test_the_encoder_is_a_copy():
    net = network()
    encoder = MomentumQueue(net, 4, 2, 3).encoder
    with torch.no_grad():
        net[0].weight.add_(1.0)
    assert not torch.equal(net[0].weight, encoder[0].weight)


@pytest.mark.parametrize("size, batches", [(5, [2, 2, 1, 3]), (4, [3] * 3), (3, [3, 3]), (2, [5])])
def test_the_last_keys_are_kept_in_order_once_there_are_enough(size, batches):
    queue, keys = MomentumQueue(network(), size, 2, 3), torch.arange(40.0).view(20, 2)
    labels = torch.rand(20, 3, generator=torch.Generator().manual_seed(0)) < 0.5
    seen, own = 0, (keys[:2] + 100, ~labels[:2])
    for n in batches:
        assert queue.contrast("joins", *own) == {} or seen >= size
        rows = slice(seen, seen + n)
        queue.enqueue(keys[rows], labels[rows])
        seen += n
        moco, joins = queue.contrast("moco", *own), queue.contrast("joins", *own)
        if seen < size:  # only the batch's own
            assert joins == {}
            assert torch.equal(moco["keys"], own[0]) and torch.equal(moco["key_labels"], own[1])
            continue
        last = slice(seen - size, seen)
        assert torch.equal(joins["keys"], keys[last])
        assert torch.equal(joins["key_labels"], labels[last])
        assert torch.equal(moco["keys"], torch.cat([own[0], keys[last]]))
        assert torch.equal(moco["key_labels"], torch.cat([own[1], labels[last]]))
    assert len(queue.keys) == len(queue.labels) == size and int(queue.seen) == seen


def test_the_queue_is_where_the_network_is():
    queue = MomentumQueue(network().to("meta"), 4, 2, 3)
    assert queue.keys.is_meta and queue.labels.is_meta
    assert all(parameter.is_meta for parameter in queue.encoder.parameters())
    assert queue.seen.device.type == "cpu", "where looking is free"


def test_what_is_enqueued_keeps_no_graph():
    queue = MomentumQueue(network(), 3, 2, 3)
    keys = torch.randn(2, 2, requires_grad=True)
    for _ in range(2):
        queue.enqueue(keys * 2, torch.zeros(2, 3, dtype=torch.bool))
    given = queue.contrast("joins", keys, torch.zeros(2, 3, dtype=torch.bool))
    assert not queue.keys.requires_grad and not given["keys"].requires_grad


def test_all_of_the_queue_is_in_its_state():
    queue, other = MomentumQueue(network(0), 3, 2, 3), MomentumQueue(network(1), 3, 2, 3)
    for _ in range(2):
        queue.enqueue(torch.randn(2, 2), torch.rand(2, 3) < 0.5)
    own = torch.randn(2, 2), torch.rand(2, 3) < 0.5
    assert queue.keys.dtype == torch.float32 and queue.labels.dtype == torch.bool
    other.load_state_dict(queue.state_dict())
    for name, value in queue.contrast("moco", *own).items():
        assert torch.equal(other.contrast("moco", *own)[name], value)
    assert torch.equal(other.encoder[0].weight, queue.encoder[0].weight)


# --- gradients in parts --------------------------------------------------------------------------


def plain(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


PARTS = [(None, [7]), (8, [7]), (7, [7]), (6, [6, 1]), (1, [1] * 7)]  # size, rows at a time


@pytest.mark.parametrize("size, calls", PARTS)
def test_parts_give_the_value_and_the_gradient_of_the_whole(size, calls):
    """Of rows of two inputs, in order; each part is computed once before its gradient is due."""
    net, seen = plain(), []

    def function(x, scale):
        seen.append(len(x))
        return net(x) * scale

    x, scale = torch.randn(7, 3).double().requires_grad_(), torch.rand(7, 1).double()
    found = in_parts(function, net, size, x, scale)
    assert seen == calls
    weight = torch.randn(7, 2).double()
    inputs = [x, *net.parameters()]
    gradients = torch.autograd.grad((found * weight).sum().square(), inputs)
    whole = net(x) * scale
    torch.testing.assert_close(found, whole, rtol=1e-12, atol=1e-14)
    expected = torch.autograd.grad((whole * weight).sum().square(), inputs)
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    again = calls if len(calls) > 1 else []  # in any order
    assert sorted(seen) == sorted(calls + again)


def test_the_second_pass_leaves_the_buffers_as_the_first_left_them():
    net = network()
    x = torch.randn(6, 3)
    z = in_parts(net, net, 2, x)
    after = copy.deepcopy(dict(net.named_buffers()))
    assert int(after["1.num_batches_tracked"]) == 3
    z.sum().backward()
    for name, buffer in net.named_buffers():
        assert torch.equal(buffer, after[name]), name


def test_buffers_are_put_back_whatever_happens():
    net = network()
    before = copy.deepcopy(dict(net.named_buffers()))
    with pytest.raises(KeyError), _buffers_kept(net):
        net(torch.randn(4, 3))
        assert not torch.equal(net[1].running_mean, before["1.running_mean"])
        raise KeyError
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())
