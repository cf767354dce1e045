"""PK batches."""

import numpy as np
import pytest

from reid.runtime.errors import InputError
from reid.training.sampling import epoch_batches

LABELS = np.repeat(np.arange(11), [1, 2, 3, 4, 5, 6, 7, 8, 9, 4, 4])[
    np.random.default_rng(5).permutation(53)
]


def batches(seed=0, people=2):
    return epoch_batches(LABELS, people, 4, np.random.default_rng(seed))


def test_every_batch_has_p_people_and_k_images_of_each():
    epoch = batches()
    assert epoch.shape == (11 // 2, 2 * 4)
    for batch in epoch:
        assert len(np.unique(LABELS[batch])) == 2
        assert (LABELS[batch].reshape(2, 4) == LABELS[batch].reshape(2, 4)[:, :1]).all()


def test_every_person_comes_once_at_most_an_epoch():
    people = LABELS[batches()].reshape(-1, 4)[:, 0]
    assert len(set(people)) == len(people) == 10


def test_images_of_a_person_repeat_only_where_there_are_too_few():
    for group in np.concatenate([batches(seed) for seed in range(5)]).reshape(-1, 4):
        count = (LABELS == LABELS[group[0]]).sum()
        assert (
            len(set(group)) == 4
            if count >= 4
            else set(group) <= set(np.flatnonzero(LABELS == LABELS[group[0]]))
        )


def test_over_many_epochs_every_image_is_seen():
    assert set(np.concatenate([batches(seed) for seed in range(60)]).ravel()) == set(range(53))


def test_the_same_seed_gives_the_same_batches_and_another_others():
    assert (batches(3) == batches(3)).all()
    assert (batches(3) != batches(4)).any()


def test_too_few_steps_an_epoch_are_refused():
    with pytest.raises(InputError, match="leaves 3 steps an epoch of 11 training people"):
        batches(people=3)
