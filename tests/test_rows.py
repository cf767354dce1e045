"""Every row of params.yaml, those beyond the published tables too: valid settings, and a step on
tiny images.
"""

import numpy as np
import pytest
import torch
import yaml

from reid.losses import LossSettings, References, loss_terms, move_centres
from reid.model import Network
from reid.runtime import config, settings
from reid.training.augmentation import augment, draw, enlarged_size
from reid.training.settings import TrainSettings
from reid.trunk.settings import ModelSettings
from tests.conftest import ROOT

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def settings_of(row, dataset="synthetic"):
    return (
        config.load(ModelSettings, PARAMS, "model", dataset, row),
        config.load(TrainSettings, PARAMS, "train", dataset, row, seed=0),
        settings.make(LossSettings, config.entry(PARAMS, "losses", row), f"losses.{row}"),
    )


@pytest.mark.parametrize("row", PARAMS["losses"])
@pytest.mark.parametrize("dataset", PARAMS["datasets"])
def test_every_row_makes_valid_settings_with_every_dataset(row, dataset):
    settings_of(row, dataset)
    assert row in PARAMS["tables"]["names"]


def test_the_default_tables_hold_the_published_rows_alone():
    assert not {"strong", "mutual"} & set(PARAMS["tables"]["losses"])
    for row in PARAMS["tables"]["losses"]:
        assert set(PARAMS["losses"][row]).isdisjoint(config.OVERRIDABLE)
        model, train, loss = settings_of(row)
        assert (model.last_stride, model.bnneck, loss.centre, loss.mutual) == (2, False, 0, False)
        assert (train.crop, train.erasing, train.warmup_epochs) == ("enlarge", 0, 0)


def test_the_strong_row_is_the_bag_of_tricks():
    model, train, loss = settings_of("strong", "market1501")
    assert loss == LossSettings(0.1, True, True, 0.0005, False)
    assert (model.trunk, model.last_stride, model.bnneck) == ("resnet50", 1, True)
    assert (train.people, train.images_each, train.learning_rate, train.warmup_epochs) == (
        16,
        4,
        3.5e-4,
        10,
    )
    assert (train.crop, train.erasing) == ("pad", 0.5)


def test_the_mutual_row_is_alignedreid_twice():
    mutual, aligned = settings_of("mutual"), settings_of("alignedreid")
    assert mutual[:2] == aligned[:2]
    assert mutual[2] == LossSettings(0.0, True, True, 0.0, True)


@pytest.mark.parametrize("row", PARAMS["losses"])
def test_a_step_of_every_row_lowers_its_loss(row):
    """One network, or two that take the other's outputs of the same step; images are drawn on
    once, centres moved.
    """
    torch.manual_seed(0)
    model, train, loss = settings_of(row)
    networks = [Network(model, 3).train() for _ in range(1 + loss.mutual)]
    batch = batch_of(train, (model.height, model.width))
    optimisers = [torch.optim.Adam(network.parameters(), lr=1e-3) for network in networks]
    centres = torch.zeros(3, networks[0].channels)
    totals = []
    for _ in range(4):
        outputs = [network(batch, with_stripes=loss.trihard_local) for network in networks]
        terms = [
            loss_terms(network_outputs, LABELS, loss, train.margin, References(centres, peer))
            for network_outputs, peer in zip(outputs, outputs[::-1], strict=True)
        ]
        totals.append([sum(network_terms.values()) for network_terms in terms])
        for total, optimiser in zip(totals[-1], optimisers, strict=True):
            optimiser.zero_grad()
            total.backward()
        for optimiser in optimisers:
            optimiser.step()
        centres = move_centres(centres, outputs[0].global_features, LABELS)
    assert ("centre" in terms[0], "mutual_distances" in terms[0]) == (
        row == "strong",
        row == "mutual",
    )
    assert all(last < first for first, last in zip(totals[0], totals[-1], strict=True))


def batch_of(train, size):
    rng = np.random.default_rng(0)
    plain = torch.from_numpy(rng.integers(0, 256, (6, *size, 3), dtype=np.uint8))
    enlarged = torch.from_numpy(rng.integers(0, 256, (6, *enlarged_size(*size), 3), dtype=np.uint8))
    return augment(
        plain,
        enlarged if train.crop == "enlarge" else None,
        draw(rng, 6, size, train.crop, train.erasing),
    )
