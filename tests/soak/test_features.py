"""Feature folders of any system: the slow twins' numbers, or a refusal by name."""

import shutil

import numpy as np
from hypothesis import strategies as st

from tests.soak import folders
from tests.soak.folders import FILES
from tests.soak.kinds import REFUSED, RIGHT, tries
from tests.soak.outcomes import attempt

SIZES = {
    "seed": st.integers(0, 2**32 - 1),
    "queries": st.integers(1, 12),
    "gallery": st.integers(1, 20),
    "stripes": st.integers(1, 9),
    "people": st.integers(1, 6),
}
FLOATS = ("global_features", "stripes")


def two_splits(seed, queries, gallery, stripes, people):
    """Random query and gallery arrays of one model."""
    rng = np.random.default_rng(seed)
    return [folders.random_split(rng, images, stripes, people) for images in (queries, gallery)]


def write(folder, splits):
    for name, arrays in zip(("query", "gallery"), splits, strict=True):
        folders.write_split(folder / "features" / name, arrays)


def check_all(folder, splits, k1=4, k2=2, share=0.3):
    """Assert that everything the three stages wrote is what the twins say."""
    folders.check_distances(folder, *splits)
    matrices = folders.check_neighbours(folder, *splits)
    folders.check_reranked(folder, matrices, len(splits[0]["pids"]), k1, k2, share)
    folders.check_scores(folder, *splits)


@tries(
    "feature folders of 1 to 20 images, 1 to 9 stripes, any tile, k1, k2 and lambda",
    *(8, 400),
    **SIZES,
    tile=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    k=st.tuples(st.integers(1, 25), st.integers(1, 25)),
    share=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    junk=st.booleans(),
    doubles=st.booleans(),
)
def test_features_give_what_the_twins_give(fresh, tile, k, share, junk, doubles, **sizes):
    folder, splits = fresh(), two_splits(**sizes)
    for arrays in splits:
        if junk:  # every third image is a bad box
            arrays["pids"][::3] = -1
        if doubles:  # equal images have equal distances, and those favour no match
            for name in FLOATS:
                half = len(arrays[name]) // 2
                arrays[name][half:] = arrays[name][: len(arrays[name]) - half]
    write(folder, splits)
    rows, columns = tile
    params = folders.write_params(
        folder / "params.yaml",
        distances={"tile_rows": rows, "tile_columns": columns},
        rerank={"k1": k[0], "k2": k[1], "lambda_value": share},
    )
    outcome = folders.run_stages(folder, params)
    if not outcome.is_refused:
        check_all(folder, splits, *k, share)
        return RIGHT
    is_constant = any(
        len(arrays[name]) > 1 and (arrays[name] == arrays[name][0]).all()
        for arrays in splits
        for name in FLOATS
    )
    matrix = np.zeros((len(splits[0]["pids"]), len(splits[1]["pids"])))
    assert is_constant or folders.slow_scores(matrix, *splits) is None, outcome.text
    return REFUSED


@tries("re-ranking from lists as short as it allows", 3, 150, **SIZES, k1=st.integers(1, 9))
def test_short_lists_give_what_whole_ones_give(fresh, k1, **sizes):
    folder, splits = fresh(), two_splits(**sizes)
    splits[1]["pids"][0] = splits[0]["pids"][0]
    splits[1]["camids"][0] = splits[0]["camids"][0] + 1
    write(folder, splits)
    for out, neighbours in (("out", 100), ("short", max(k1 + 1, 2))):
        params = folders.write_params(
            folder / "params.yaml",
            distances={"neighbours": neighbours},
            rerank={"k1": k1, "k2": 2, "lambda_value": 0.3},
        )
        outcome = folders.run_stages(folder, params, out)
        assert not outcome.is_refused, outcome.text
    whole, short = folders.columns_of(folder), folders.columns_of(folder, "short")
    for name, matrix in whole.items():
        np.testing.assert_allclose(short[name], matrix, rtol=0, atol=2e-5, err_msg=name)
    return RIGHT


def as_type(kind):
    return lambda array: array.astype(kind)


def with_value(value):
    def change(array):
        changed = array.copy()
        changed[len(changed) // 2, ..., 0] = value
        return changed

    return change


def of_length(length):
    """A change that makes the middle image's feature, or first stripe, that long."""

    def change(array):
        changed = array.copy()
        vector = changed[len(changed) // 2]
        vector = vector.reshape(-1, vector.shape[-1])[0]
        vector *= length / np.linalg.norm(vector)
        return changed

    return change


# what is done to an array, to which arrays, and whether that must be refused (None: either)
CHANGES = {
    "as it is": (lambda array: array, FILES, False),
    "columns first": (np.asfortranarray, FLOATS, True),
    **{f"as {kind}": (as_type(kind), FILES[2:], False) for kind in ("i4", "i2", "u1", "u8", ">i8")},
    **{f"numbers as {kind}": (as_type(kind), FLOATS, True) for kind in ("f2", "f8", "c8", "i8")},
    "numbers as >f4": (as_type(">f4"), FLOATS, True),
    **{f"pids as {kind}": (as_type(kind), FILES[2:], True) for kind in ("f8", "U9", "bool", "c8")},
    **{f"{value} in it": (with_value(value), FLOATS, True) for value in (np.nan, np.inf, -1e30)},
    **{f"length {x:g}": (of_length(x), FLOATS, True) for x in (0, 1e-44, 1e-30, 1e-20, 1e-14)},
    **{f"length {x:g}": (of_length(x), FLOATS, None) for x in (1e-12, 1e-10, 1e-8, 1e10, 1e14)},
    **{f"length {x:g}": (of_length(x), FLOATS, False) for x in (1e-3, 0.1, 30, 1e3)},
    "one image less": (lambda array: array[:-1], FILES, True),
    "no image": (lambda array: array[:0], FILES, True),
    "one channel less": (lambda array: array[..., :-1], FLOATS, True),
    "one dimension more": (lambda array: array[..., None], FILES, True),
    "past 63 bits": (lambda array: array.astype("u8") + np.uint64(2**63), FILES[2:], True),
    "Python objects": (lambda array: array.astype(object), FILES, True),
}


@tries(
    "feature folders of other types, lengths and shapes",
    *(25, 1500),
    **{**SIZES, "queries": st.integers(2, 6), "gallery": st.integers(2, 8)},
    change=st.sampled_from(sorted(CHANGES)),
    side=st.integers(0, 1),
    data=st.data(),
)
def test_changed_arrays_are_right_or_refused(fresh, change, side, data, **sizes):
    folder, splits = fresh(), two_splits(**sizes)
    splits[1]["pids"][:2] = splits[0]["pids"][0]
    splits[0]["camids"][0], splits[1]["camids"][:2] = 5, (6, 7)
    function, names, is_wrong = CHANGES[change]
    name = data.draw(st.sampled_from(names))
    splits[side][name] = function(splits[side][name])
    write(folder, splits)
    outcome = folders.run_stages(folder, folders.write_params(folder / "params.yaml"))
    if outcome.is_refused:
        assert is_wrong is not False, f"refused {name} {change}: {outcome.text}"
        assert any(f"{other}.npy" in outcome.text or other in outcome.text for other in FILES)
        return REFUSED
    assert not is_wrong, f"{name} {change} was accepted"
    check_all(folder, splits)
    return RIGHT


@tries(
    "feature files and distances with damaged bytes",
    *(10, 500),
    seed=st.integers(0, 2**32 - 1),
    damage=st.sampled_from(["cut", "flip", "text", "empty", "absent", "longer", "folder"]),
    data=st.data(),
)
def test_damaged_files_are_right_or_refused(fresh, seed, damage, data):
    folder, splits = fresh(), two_splits(seed, 4, 6, 3, 2)
    splits[1]["pids"][:2] = splits[0]["pids"][0]
    splits[0]["camids"][0], splits[1]["camids"][:2] = 5, (6, 7)
    write(folder, splits)
    params = folders.write_params(folder / "params.yaml")
    assert not folders.run_stages(folder, params).is_refused
    victims = sorted(file.relative_to(folder) for file in folder.rglob("*.np?"))
    name = data.draw(st.sampled_from(list(map(str, victims))))
    victim, is_input = folder / name, name.startswith("features")
    before = victim.read_bytes()
    damage_file(victim, damage, data)
    outcome = (
        folders.run_stages(folder, params, "again")
        if is_input
        else rerun_after(folder, params, name)
    )
    if outcome.is_refused:
        assert victim.name in outcome.text, outcome.text
        return REFUSED
    assert damage in ("flip", "longer"), f"{name} with {damage} was accepted"
    if damage == "longer" or victim.read_bytes() == before:
        folders.check_scores(folder, *splits, "again" if is_input else "out")
    return RIGHT


def rerun_after(folder, params, victim):
    """Re-rank and evaluate anew after a file between the stages was damaged."""
    (folder / "out.json").unlink()
    places = [folder / f"out-{name}" for name in ("distances", "reranked")]
    if victim.startswith("out-distances"):
        shutil.rmtree(places[1])
        arguments = [folder / "features", *places, "--params", params]
        outcome = attempt("stages.rerank", *arguments, watched=folder)
        if outcome.is_refused:
            return outcome
    arguments = [folder / "features", *places, folder / "out.json", "--params", params]
    return attempt("stages.evaluate", *arguments, watched=folder)


def damage_file(file, damage, data):
    """Do to a file what disks, transfers and people do."""
    content = bytearray(file.read_bytes())
    if damage == "cut":
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    elif damage == "flip":
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif damage == "text":
        content = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
    elif damage == "empty":
        content = b""
    elif damage == "longer":
        content += b"more"
    file.unlink()
    if damage == "folder":
        file.mkdir()
    elif damage != "absent":
        file.write_bytes(content)
