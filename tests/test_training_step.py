"""The parts of mean teacher training against their definitions: schedule, objective, teacher, step and batches."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from runs import SMALL, clips, trainer

from avsed.config import TrainingConfig
from avsed.data.bank import ShuffledStream
from avsed.model.batch import Batch
from avsed.model.crnn import Crnn, Output
from avsed.training.augmentation import Augmentation
from avsed.training.objective import cross_entropy, objective
from avsed.training.options import AugmentationConfig, MasksConfig, MixupConfig, ShiftConfig
from avsed.training.schedule import learning_rate
from avsed.training.step import MeanTeacher
from avsed.training.teacher import make_teacher, update_teacher

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_learning_rate_is_the_paper_s() -> None:
    paper = TrainingConfig()
    assert learning_rate(0, paper) == pytest.approx(0.001 * math.exp(-5))
    assert learning_rate(6250, paper) == pytest.approx(0.001 * math.exp(-5 * 0.25))
    assert learning_rate(12_500, paper) == pytest.approx(0.001)
    assert learning_rate(50_000, paper) == pytest.approx(0.001 * 0.99995**37_500)
    short = TrainingConfig(steps=500)
    for share in (0.0, 0.1, 0.25, 0.5, 0.98):
        assert learning_rate(int(500 * share), short) == pytest.approx(learning_rate(int(50_000 * share), paper))


def test_the_objective_is_the_sum_of_its_means() -> None:
    mask = torch.tensor([[True, True], [True, False]])
    student = Output(torch.tensor([[[0.2], [0.4]], [[0.6], [0.0]]]), torch.tensor([[0.3], [0.6]]), mask)
    teacher = Output(torch.tensor([[[0.3], [0.4]], [[0.2], [0.0]]]), torch.tensor([[0.5], [0.2]]), mask)
    losses = objective(student, teacher, torch.tensor([[1.0]]), TrainingConfig())
    assert losses.tagging.item() == pytest.approx(-math.log(0.3))
    assert losses.clip_consistency.item() == pytest.approx((0.2**2 + 0.4**2) / 2)
    assert losses.frame_consistency.item() == pytest.approx((0.1**2 + 0.4**2) / 3)  # three real frames
    parts = losses.tagging + 2 * losses.clip_consistency + 2 * losses.frame_consistency
    assert losses.total.item() == pytest.approx(parts.item())


def test_the_cross_entropy_is_pytorch_s_but_lets_nan_pass() -> None:
    probabilities = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.3, 1e-6, 1 - 2**-24], requires_grad=True)
    tags = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0])
    ours, theirs = cross_entropy(probabilities, tags), torch.nn.functional.binary_cross_entropy(probabilities, tags)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    gradients = [torch.autograd.grad(loss, probabilities)[0][4:] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients)
    assert torch.autograd.grad(cross_entropy(probabilities, tags), probabilities)[0].isfinite().all()
    assert cross_entropy(torch.tensor([math.nan, 0.5]), torch.ones(2)).isnan()


def test_the_teacher_averages_parameters_but_not_buffers() -> None:
    torch.manual_seed(0)
    student = Crnn(SMALL, classes=3, bands=8).train()
    teacher = make_teacher(student)
    before = {name: value.clone() for name, value in teacher.named_parameters()}
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    student(Batch(torch.randn(2, 8, 8)))  # moves the student's running statistics only
    update_teacher(teacher, student, decay=0.9)
    for name, value in teacher.named_parameters():
        torch.testing.assert_close(value, before[name] + 0.1)
        assert not value.requires_grad
    assert teacher.convolutions.blocks[0].norm.running_mean.abs().sum() == 0
    assert student.convolutions.blocks[0].norm.running_mean.abs().sum() > 0


def first_losses(config: TrainingConfig) -> torch.Tensor:
    """The losses of three steps on clips of different lengths: float (3, 4)."""
    one = trainer(config)
    x, tags = torch.randn(4, 16, 8), torch.tensor([[1.0, 0, 0], [0, 1, 1]])
    frames = torch.tensor([16, 9, 16, 3])
    return torch.stack([torch.stack(one.step(number, Batch(x, lengths=frames), tags)[:4]) for number in range(3)])


def test_mixed_precision_trains_alike() -> None:
    """As a GPU computes it, whose casts the CPU can do, too, and as a CPU does."""
    student = trainer(TrainingConfig()).student
    for block in student.convolutions.blocks:
        block.dropout.p = 0.0
    x = torch.randn(2, 16, 8)
    frames = student(Batch(x)).frames
    with torch.autocast("cpu", torch.bfloat16):
        half = student(Batch(x)).frames
    assert frames.dtype == half.dtype == torch.float32
    torch.testing.assert_close(half, frames, atol=0.02, rtol=0)
    single, mixed = (first_losses(TrainingConfig(steps=10, precision=p)) for p in ("fp32", "bf16"))
    assert torch.isfinite(mixed).all() and not torch.equal(single, mixed)
    torch.testing.assert_close(mixed, single, rtol=0.02, atol=0)


def test_the_compiled_blocks_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr("avsed.model.fused.fused_block", lambda *_: called.append(1))
    assert torch.isfinite(first_losses(TrainingConfig(steps=10, fused=False))).all()
    assert not called


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: what a step does there is not tested")
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_no_step_waits_for_the_gpu(precision: str) -> None:
    one = trainer(TrainingConfig(steps=10, precision=precision))
    one = MeanTeacher(one.student.cuda(), one.config, seed=1)
    x, tags, frames = torch.randn(4, 16, 8).cuda(), torch.ones(2, 3).cuda(), torch.tensor([16, 9, 16, 3])
    one.step(0, Batch(x, lengths=frames), tags)
    try:
        torch.cuda.set_sync_debug_mode("error")
        losses = one.step(1, Batch(x, lengths=frames), tags)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(losses.total)


def test_student_and_teacher_drop_different_values() -> None:
    one = trainer(TrainingConfig(steps=10))
    torch.manual_seed(0)
    x = torch.randn(2, 16, 8)
    with torch.no_grad():
        assert not torch.equal(one.student(Batch(x)).frames, one.teacher(Batch(x)).frames)


def test_a_stream_gives_every_clip_once_a_round_in_an_order_of_its_own() -> None:
    stream = ShuffledStream(7, 3, seed=(1, 0))
    seen = np.concatenate([stream.batch(step) for step in range(14)])
    rounds = seen.reshape(6, 7)
    assert all(sorted(r) == list(range(7)) for r in rounds.tolist())
    assert len({tuple(r) for r in rounds.tolist()}) > 1
    assert np.array_equal(ShuffledStream(7, 3, seed=(1, 0)).batch(11), seen[33:36])  # a function of the step alone
    assert not np.array_equal(ShuffledStream(7, 42, seed=(1, 1)).batch(0), seen)
    assert sorted(ShuffledStream(2, 5, seed=(0,)).batch(0).tolist()) in ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])


def test_resident_and_streamed_features_are_the_same() -> None:
    kept, streamed = clips(resident=True), clips(resident=False)
    for index in ([0, 1, 2], [3], [6, 6]):
        a, b = kept.weak.gather(np.array(index)), streamed.weak.gather(np.array(index))
        assert torch.equal(a.spectra, b.spectra)
        assert (a.lengths is None and b.lengths is None) or torch.equal(a.lengths, b.lengths)
        assert a.spectra.shape[1] % 4 == 0


def test_a_step_is_made_of_its_parts_as_documented() -> None:
    """What each network sees, what the labels are, the learning rate and the teacher, put together here once more."""
    torch.manual_seed(0)
    augmentation = AugmentationConfig(
        shift=ShiftConfig(frames=2),
        mixup=MixupConfig(probability=1.0),
        masks=MasksConfig(time=2, band=2),
        teacher="plain",
    )
    config = TrainingConfig(steps=50, average=0.8, fused=False, augmentation=augmentation)
    ours = MeanTeacher(Crnn(SMALL.model_copy(update={"dropout": 0.0}), classes=3, bands=8), config, seed=5)
    student, teacher = copy.deepcopy(ours.student), copy.deepcopy(ours.teacher)
    with torch.no_grad():
        for one in (teacher, ours.teacher):
            for value in one.parameters():
                value.mul_(0.9)  # so that it is another network than the student
    before = [value.clone() for value in teacher.parameters()]
    batch, tags = Batch(torch.randn(6, 16, 8)), (torch.rand(4, 3) > 0.5).float()
    frames = 16 // ours.student.time_pool
    targets = (torch.rand(2, frames, 3) > 0.5).float()
    losses = ours.step(20, batch, tags, targets)

    parts = Augmentation(augmentation, time_pool=student.time_pool, seed=5)
    moved, moved_tags, moved_targets = parts.moved(20, batch, tags, targets)
    assert not moved_tags.equal(tags) and moved_targets is not None and not moved_targets.equal(targets)
    masked, plain = parts.views(20, moved)
    assert plain is moved and not masked.spectra.equal(plain.spectra)  # type: ignore[union-attr, arg-type]
    with torch.no_grad():
        expected = objective(student(masked), teacher(plain), moved_tags, config, targets=moved_targets)
    for name, value in losses._asdict().items():
        torch.testing.assert_close(value, getattr(expected, name), msg=name)
    assert {group["lr"] for group in ours.optimiser.param_groups} == {learning_rate(20, config)}
    share = config.step_average
    for old, mine, new in zip(before, ours.student.parameters(), ours.teacher.parameters(), strict=True):
        torch.testing.assert_close(new, share * old + (1 - share) * mine)
    assert share == 0.8 and any(not a.equal(b) for a, b in zip(before, ours.teacher.parameters(), strict=True))
