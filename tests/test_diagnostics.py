"""Diagnostics: a warning when training goes wrong, early, once, and not when all is well."""

import warnings

import numpy as np
import pytest

from reid.runtime.errors import InputError
from reid.training import diagnostics


def rows(*losses, accuracy=0.5):
    return [
        {"epoch": epoch, "loss": loss, "accuracy": accuracy} for epoch, loss in enumerate(losses, 1)
    ]


@pytest.fixture
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.usefixtures("no_warning")
def test_all_is_well():
    diagnostics.check_people(np.repeat(np.arange(5), 2), 4)
    history = rows(*np.linspace(5, 1, 12))
    for epochs in range(1, 13):
        diagnostics.check_epoch(history[:epochs], people=100)


def test_people_with_one_image_are_counted():
    with pytest.warns(UserWarning, match="2 of 4 training people have one image only"):
        diagnostics.check_people(np.array([0, 1, 1, 2, 3, 3]), 4)


def test_batches_with_one_image_of_each_person():
    with pytest.warns(UserWarning, match="train.images_each is 1"):
        diagnostics.check_people(np.repeat(np.arange(5), 2), 1)


@pytest.mark.usefixtures("no_warning")
def test_a_loss_near_zero_that_rises_a_little_has_not_exploded():
    diagnostics.check_epoch(rows(3.0, 0.001, 0.011), people=10)


def test_a_loss_that_is_no_number_stops_the_run():
    with pytest.raises(InputError, match="the loss is nan after epoch 2: training has diverged"):
        diagnostics.check_epoch(rows(3.0, float("nan")), people=10)


def test_an_exploding_loss_is_said_once():
    history = rows(3.0, 2.0, 21.0, 30.0)
    with pytest.warns(UserWarning, match="the loss is 21 after epoch 3 and was 2 before"):
        diagnostics.check_epoch(history[:3], people=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        diagnostics.check_epoch(history, people=10)


@pytest.mark.parametrize(("accuracy", "is_said"), [(0.015, True), (0.016, False)])
def test_accuracy_at_chance_is_said_after_ten_epochs(accuracy, is_said):
    history = rows(*[4.6] * 10, accuracy=accuracy)
    diagnostics.check_epoch(history[:9], people=100)
    if is_said:
        with pytest.warns(
            UserWarning, match="after 10 epochs the accuracy is 0.0150, no better than chance"
        ):
            diagnostics.check_epoch(history, people=100)
    else:
        diagnostics.check_epoch(history, people=100)
