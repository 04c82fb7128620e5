"""Rows of races: fixed keys, fair order, and a ratio that says what it is read as."""

from __future__ import annotations

import json
import mmap
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import (
    augment,
    caption_step,
    contrastive_loss,
    criterion,
    decode,
    embed_folder,
    explain,
    generate,
    import_index,
    matching,
    patch_step,
    prompt_epoch,
    ranks,
    regions,
    reid,
    scenes,
    search_exact,
    shards,
    ssl_step,
    train_step,
    transport,
)
from bench import check as bench_check
from bench import update as bench_update
from bench.rows import (
    KEYS,
    RESULTS,
    Timings,
    added_memory,
    alternate,
    append_row,
    environment,
    limit_row,
    make_row,
    measure_apart,
    product_of,
    races,
    stream_of,
)
from bench.startup import CASES, stopwatch
from deixis import zoo
from deixis.inputs.images import load_image
from deixis.ops.metrics import TIE
from deixis.zoo.layouts import openclip
from deixis.zoo.layouts.places import gather
from tests.support import few, texts

PROJECT = Path(__file__).parents[1]
CASE = {"race": "startup", "case": "help", "peer": "open_clip", "peer_version": "3.0"}
PLACE = {"threads": 1, "cpu": "a cpu", "commit": "", "date": "2026-01-01T00:00:00+00:00"}


def row(ours: list[float], theirs: list[float], unit: str) -> dict[str, Any]:
    return make_row(CASE, Timings(ours, theirs), unit=unit, equal=None, surroundings=PLACE)


def test_every_race_says_against_whom_and_what_must_be_equal_first() -> None:
    """As `make bench` lists them: what chooses a constant, compares code, keeps rows, repeats verdicts or builds a
    model is no race."""
    files = {path.stem for path in (PROJECT / "bench").glob("*.py")} - {"__init__", "rows"}
    files = {name for name in files if not name.startswith(("desk_clip", "word_kinds"))}
    listed = races()
    assert set(listed) == {
        name
        for name in files
        if not name.endswith(("_choice", "_clients", "_code", "_commands", "_rows", "_stability", "_cost"))
    }
    for race in listed.values():
        assert race.measures
        assert bool(race.peers) == bool(race.equal)
    for line in RESULTS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        assert row["peer"] in listed[row["race"]].peers


def test_sides_are_measured_in_turn_after_a_warm_up() -> None:
    calls: list[str] = []
    times = iter(range(100))

    def side(name: str) -> float:
        calls.append(name)
        return next(times)

    timings = alternate(lambda: side("a"), lambda: side("b"), repeats=3, warmup=1)
    assert "".join(calls) == "abababab"
    assert timings == Timings((2, 4, 6), (3, 5, 7))


@pytest.mark.parametrize("unit", ["s", "MB"])
def test_of_a_cost_less_is_better(unit: str) -> None:
    assert row([1.0, 2.0, 3.0], [4.0, 4.0, 3.0], unit)["ratio"] == 2.0


def test_of_a_rate_more_is_better() -> None:
    assert row([100.0], [400.0], "images/s")["ratio"] == 0.25


def test_the_spread_holds_the_quartiles_of_paired_ratios() -> None:
    assert row([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0], "s")["spread"] == [2.0, 4.0]


def test_rows_are_added_with_the_keys_in_order(tmp_path: Path) -> None:
    path = tmp_path / "results" / "bench.jsonl"
    for _ in range(2):
        append_row(row([1.0], [2.0], "s"), path)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [tuple(json.loads(line)) for line in lines] == [KEYS, KEYS]


def test_a_row_with_other_keys_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bench.jsonl"
    with pytest.raises(ValueError, match="keys"):
        append_row({"race": "startup"}, path)
    assert not path.exists()


def test_the_committed_rows_have_the_keys() -> None:
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    assert all(tuple(json.loads(line)) == KEYS for line in lines)


def test_the_surroundings_say_where_and_when() -> None:
    found = environment(threads=2)
    assert found["threads"] == 2
    assert "cores" in found["cpu"]
    assert found["date"].endswith("+00:00")


def test_a_command_that_fails_or_is_silent_ends_the_race(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stopwatch([sys.executable, "-c", "print(1)"], prints=True)() > 0
    with pytest.raises(SystemExit, match="ended with 3"):
        stopwatch([sys.executable, "-c", "raise SystemExit(3)"], prints=False)()
    with pytest.raises(SystemExit):
        stopwatch([sys.executable, "-c", ""], prints=True)()


def test_children_do_not_inherit_settings_for_old_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    stopwatch([sys.executable, "-c", "import os; assert 'OPENBLAS_CORETYPE' not in os.environ"], prints=False)()


def test_the_race_holds_a_case_where_both_sides_load_torch() -> None:
    assert {"help", "list", "import", "encoder"} == set(CASES)
    assert "deixis.nn" in CASES["encoder"][0][-1]


def test_the_limit_of_a_race_is_the_work_that_is_left_when_all_else_is_left_out(tmp_path: Path) -> None:
    """Arithmetic and bandwidth grow with their arguments; rows say that there was nothing to compare."""
    few, many = (min(product_of(count, 1)() for _ in range(5)) for count in (32**3, 512**3))
    assert 0 < 10 * few < many
    assert min(stream_of(64, 1)() for _ in range(5)) < min(stream_of(1 << 26, 1)() for _ in range(3))
    made = limit_row("decode", "all", Timings([90.0], [100.0]), unit="images/s", package="torch", surroundings=PLACE)
    assert (made["peer"], made["equal"], made["ratio"]) == ("limit", None, 0.9)
    np.save(tmp_path / "vectors.npy", np.ones((50, 8), np.float32))
    whole = search_exact.limit(tmp_path, half=False)
    assert whole.keys() == {"1", "500"}
    assert all(seconds > 0 for seconds in whole.values())


def test_memory_is_counted_from_what_was_held_before() -> None:
    def hold() -> None:
        with mmap.mmap(-1, 100_000_000) as pages:  # of the system's, whatever the allocator has kept
            for start in range(0, len(pages), mmap.PAGESIZE):
                pages[start] = 1

    assert 95 < added_memory(hold) < 120  # of the mark that this leaves nothing counts below
    assert added_memory(lambda: None) < 20
    assert 95 < added_memory(hold) < 120


@pytest.mark.slow
def test_a_measurement_in_a_process_of_its_own_that_fails_ends_the_race() -> None:
    with pytest.raises(SystemExit, match="ended with 2"):
        measure_apart("bench.ranks", "--no-such-flag")


def test_the_features_of_the_race_of_ranks_hold_no_ties_and_many_ranks() -> None:
    image, text = ranks.features(300, 64)
    scores = image.double() @ text.double().T
    right = scores.diagonal().clone()
    scores.fill_diagonal_(torch.inf)
    assert min((scores - right[:, None]).abs().min(), (scores - right).abs().min()) > 2 * TIE
    assert len(set((scores > right).sum(0).tolist())) > 5
    assert torch.allclose(image.norm(dim=1), torch.ones(300)), "vectors have length 1"


@pytest.mark.slow
def test_both_sides_of_the_race_of_ranks_give_the_same_numbers() -> None:
    pairs = ranks.features(300, 64)
    ours, theirs = (side(*pairs) for side in ranks.SIDES.values())
    assert len(ours) == 10
    assert ranks.equal(ours, theirs)
    assert not ranks.equal(ours, {**theirs, "text_to_image_R@5": theirs["text_to_image_R@5"] + 1 / 300})


def test_both_sides_of_the_race_of_individuals_give_the_same_places_and_precisions() -> None:
    vectors, ids = reid.vectors(300, 32)
    ours, theirs = (
        dict(zip(("first", "precision"), side(vectors, ids, 100), strict=True)) for side in reid.SIDES.values()
    )
    assert reid.equal(ours, theirs)
    assert not reid.equal(ours, {**theirs, "first": theirs["first"] + 1})


@pytest.mark.parametrize("repeated", [True, False])
def test_all_sides_of_the_race_of_sentences_have_one_loss_and_one_gradient(repeated: bool) -> None:
    step = caption_step.CaptionStep(3, repeated, images=12)
    assert caption_step.equal(step)
    different = len(step.keys.unique())
    assert (different < 20) is repeated


@pytest.mark.slow
def test_both_sides_of_the_race_of_texts_write_the_same() -> None:
    pytest.importorskip("transformers")
    lm = zoo.load_part("lm", "scratch:tiny", source=texts("two cats and a red car", "the sea shows snow"))
    race = generate.Generation(lm, generate.peer_of(lm), 5, tokens=6)
    assert race.equal()
    assert any(race.ours())


def test_all_sides_of_the_race_of_criteria_have_one_loss_and_one_gradient() -> None:
    few_boxes = criterion.Criterion(3, pictures=2)
    assert criterion.equal(few_boxes)
    few_boxes.truth[0].boxes.mul_(0.9)  # ours keeps its own copy of them
    assert not criterion.equal(few_boxes)


@pytest.mark.slow
def test_both_sides_of_the_race_of_transport_give_the_same_plans() -> None:
    ours, theirs = (make(*transport.inputs(20, 10)) for make in transport.SIDES.values())
    torch.testing.assert_close(ours(), theirs(), rtol=1e-3, atol=1e-7)


def test_both_sides_of_the_race_of_regions_say_the_same_of_each_picture(tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.jpg" for seed in range(3)]
    for seed, path in enumerate(paths):
        path.write_bytes(decode.encode(32, 32, seed))  # as large as the detector takes them: resizing changes nothing
    for case in regions.CASES:
        part = regions.part_of(case, "tiny", "tiny")
        found, other = regions.ours(part, paths), regions.one_by_one(part, paths)
        assert all(apart < 1e-5 for apart in regions.difference(found, other).values())
        assert regions.difference(found, other[::-1])["features"] > 1e-3
        fewer = [{name: value[1:] for name, value in each.items()} for each in other]
        assert regions.difference(found, fewer)["boxes"] == float("inf")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ssl_step.CASES)
def test_all_sides_of_the_race_of_steps_without_labels_have_one_loss_and_one_gradient(kind: str) -> None:
    step = ssl_step.CASES[kind](batch=4)
    assert ssl_step.equal(step)
    with torch.no_grad():
        next(step.fast.encoder.parameters()).mul_(1.1)
    assert not ssl_step.equal(step)


@pytest.mark.slow
@pytest.mark.parametrize("kind", patch_step.CASES)
def test_all_sides_of_the_race_of_patches_have_one_loss_and_one_gradient(kind: str) -> None:
    step = patch_step.CASES[kind](batch=2, side=64)
    assert ssl_step.equal(step)
    ours = step.ours
    step.ours = lambda: 1.1 * ours()  # type: ignore[method-assign]
    assert not ssl_step.equal(step)


def test_both_sides_of_the_race_of_views_cut_and_vary_alike() -> None:
    for _, augment_spec in augment.CASES.values():
        views = augment.Views(32, augment_spec, images=6)
        assert views.difference() < augment.TOLERANCE
        before = views.ours()
        views.windows.reverse()
        assert float((before.float() - views.ours().float()).abs().mean()) > augment.TOLERANCE


@pytest.mark.slow
def test_both_sides_of_the_race_of_matching_find_the_same_matches() -> None:
    for count in matching.CASES.values():
        ours, theirs = (make(matching.inputs(count)) for make in matching.SIDES.values())
        assert ours() == theirs()


def test_the_race_of_ranks_leaves_out_what_does_not_fit_into_memory(capsys: pytest.CaptureFixture[str]) -> None:
    assert ranks.enough_memory(100)
    assert not ranks.enough_memory(10_000_000)
    assert "skipped" in capsys.readouterr().out


SMALL = train_step.Shape(4, 8, 16, 8, 16, 2, 16, 2, length=8, vocabulary=32, per_head=8)


def test_all_sides_of_the_race_of_training_have_one_loss_and_one_gradient() -> None:
    found = train_step.differences(SMALL)
    assert found.keys() == {"open_clip", "torch"}
    assert max(found.values()) < train_step.TOLERANCE


@torch.no_grad()
def test_all_sides_of_the_race_of_training_take_the_same_steps() -> None:
    ends = {}
    for side in train_step.SIDES:
        model = train_step.model_of(SMALL, side)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with torch.enable_grad():
            train_step.steps(model, train_step.noise(SMALL), side)
        assert any(not torch.equal(before[name], value) for name, value in model.state_dict().items())
        if side.startswith("open_clip"):
            ends[side] = dict(model.named_parameters())
        else:
            towers = openclip.parts(model.encoder.image_tower, model.encoder.text_tower)
            ends[side] = {**gather(towers), "logit_scale": model.logit_scale}
    for name, value in ends["ours"].items():
        for side in train_step.SIDES[1:]:
            apart = (ends[side][name] - value).abs()
            if name.endswith("in_proj_bias"):
                apart.chunk(3)[1].zero_()  # a bias of keys changes no attention: its gradient is rounding errors
            assert apart.max() < 1e-6, f"{side}: {name}"


@pytest.mark.slow
def test_all_sides_of_the_race_of_shards_give_each_picture_once_with_the_same_values(tmp_path: Path) -> None:
    shards.write(shards.Case(48, 36, 4 * shards.BATCH, False), tmp_path)
    assert len(list((tmp_path / "shards").glob("*.tar"))) == shards.SHARDS
    assert shards.same(tmp_path)


@pytest.mark.slow
def test_sides_of_the_race_of_shards_that_differ_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards.write(shards.Case(48, 36, 2 * shards.BATCH, False), tmp_path)
    shorter = {name: lambda folder, done, side=side: side(folder, 1) for name, side in shards.SIDES.items()}
    monkeypatch.setitem(shards.SIDES, "ours", shorter["ours"])
    assert not shards.same(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["ours", "torch"])
def test_what_goes_on_in_the_race_of_shards_goes_on_where_the_whole_pass_was(tmp_path: Path, side: str) -> None:
    shards.write(shards.Case(48, 36, 4 * shards.BATCH, False), tmp_path)
    whole, rest = ([list(names) for names, _ in shards.SIDES[side](tmp_path, done)] for done in (0, 3))
    assert whole[3:] == rest


@pytest.mark.parametrize("side", [64, 0], ids=["scenes", "words"])
def test_both_sides_of_the_race_of_scenes_draw_the_same_pixels(side: int) -> None:
    assert scenes.equal(scenes.drawings(side, 6, cast="shapes"))
    assert {threads for _, threads in scenes.CASES.values()} == {1, 2}


def test_all_sides_of_the_race_of_decoding_give_the_same_values_within_the_bound_of_the_case(tmp_path: Path) -> None:
    case = decode.Case(320, 250, files=5, bound=0.0)
    decode.write(case, tmp_path)
    ours, _, theirs, _ = (make(tmp_path) for make in decode.SIDES.values())
    assert decode.furthest(ours, theirs) == case.bound
    assert decode.limit(tmp_path, case.files) > 0
    assert all(("equal" in name) == (each.bound == 0) for name, each in decode.CASES.items())


def test_the_pictures_of_the_race_of_decoding_are_as_heavy_as_photographs() -> None:
    assert 0.15 < len(decode.encode(500, 375, seed=0)) / (500 * 375) < 0.5
    assert decode.encode(50, 40, seed=1) == decode.encode(50, 40, seed=1) != decode.encode(50, 40, seed=2)


GRAD_CAM = [each for each in explain.CASES if explain.runs(each, "torch")]


@pytest.mark.slow
@pytest.mark.parametrize("case", few(GRAD_CAM, *GRAD_CAM[:2]))
def test_maps_of_five_classes_from_one_pass_are_those_of_a_plain_loop(case: str) -> None:
    images, classes = torch.randn(1, 3, explain.SIZE, explain.SIZE), torch.tensor([[1, 7, 20, 300, 999]])
    ours, theirs = (side(images, classes) for side in (explain.ours(case), explain.PEERS["torch"][1](case)))
    assert ours.shape == (1, 5, explain.SIZE, explain.SIZE)
    assert explain.apart(ours, theirs) < explain.TOLERANCE
    assert explain.apart(ours, ours.flip(1)) > 0.1, "and maps of other classes are not"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
def test_relevance_of_a_residual_network_is_captums_where_rounding_does_not_count() -> None:
    [case] = [each for each in explain.CASES if each not in GRAD_CAM]
    images, classes = torch.randn(1, 3, explain.SIZE, explain.SIZE).double(), torch.tensor([[7]])
    ours, theirs = (make(case, torch.float64)(images, classes) for make in (explain.ours, explain.PEERS["captum"][1]))
    assert explain.apart(ours, theirs) < 1e-9


def test_the_plain_steps_of_prompt_epoch_give_our_logits_and_gradients() -> None:
    sizes = {"side": 32, "patch": 8, "width": 32, "depth": 1, "text_width": 32, "text_depth": 2, "out": 16}
    off = prompt_epoch.differences(prompt_epoch.Shape(**sizes, per_head=16, length=20, vectors=3), 5, chunk=2)
    assert set(off) == {f"{side}, {what}" for side in prompt_epoch.SIDES[1:] for what in ("logits", "gradient")}
    assert max(off.values()) < prompt_epoch.TOLERANCE


def test_all_sides_of_the_race_of_losses_give_one_loss_and_its_gradients() -> None:
    """Those of sentence-transformers are compared by the race itself, which installs it."""
    off = contrastive_loss.differences(300, ("open_clip", "torch"))
    assert set(off) == {"open_clip", "torch"}
    assert max(off.values()) < contrastive_loss.TOLERANCE
    assert contrastive_loss.step_differs(64, pieces=4) < contrastive_loss.TOLERANCE


def test_the_core_that_is_kept_busy_is_free_again_afterwards() -> None:
    def children() -> str:
        return Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")

    before = children()
    with contrastive_loss.busy_core():
        assert len(children().split()) == len(before.split()) + 1
    assert children() == before


def test_files_that_look_alike_have_contents_of_their_own() -> None:
    """Else a side that encodes each content once would win by that."""
    plain = decode.encode(50, 40, seed=1)
    marked = [embed_folder.marked(plain, number) for number in range(3)]
    assert len({plain, *marked}) == 4
    assert all(torch.equal(load_image(each), load_image(plain)) for each in marked)


def test_embeddings_are_compared_file_by_file() -> None:
    one = np.eye(3)
    assert embed_folder.least_cosine(one, one) == 1.0
    assert embed_folder.least_cosine(one, one[[0, 2, 1]]) == 0.0
    with pytest.raises(SystemExit, match="3, 3"):
        embed_folder.least_cosine(one, one[:2])


def test_the_vectors_of_the_race_of_searches_lie_near_a_small_space() -> None:
    data = np.concatenate(list(search_exact.vectors(1000)))
    np.testing.assert_allclose(np.linalg.norm(data, axis=1), 1, atol=1e-6)
    shares = np.linalg.svd(data, compute_uv=False)[: search_exact.RANK] ** 2 / len(data)
    assert 0.98 < shares.sum() < 0.999, "but for a hundredth, 64 of 512 directions hold it all"
    asked = np.concatenate(list(search_exact.vectors(1000, seed=1)))
    assert 0.3 < (asked @ data.T).max(axis=1).mean() < 0.95, "queries are others, of the same space"


EXACT = search_exact.PEERS.keys() - {"usearch", "limit", "limit_half"}


@pytest.mark.slow
def test_all_sides_of_the_race_of_searches_give_the_same_answers(tmp_path: Path) -> None:
    for package in ("faiss", "lancedb", "usearch"):
        pytest.importorskip(package)
    search_exact.store(3000, tmp_path, list(search_exact.SIDES))
    for side in search_exact.SIDES:
        assert search_exact.measure(side, tmp_path)["500"] > 0
    assert all(search_exact.same(tmp_path, side) for side in search_exact.SIDES if side in EXACT)
    assert search_exact.recall(tmp_path) > 0.9
    rows = np.load(tmp_path / "faiss-rows.npy")
    rows[7, 3] = rows[7, 4]
    np.save(tmp_path / "faiss-rows.npy", rows)
    assert not search_exact.same(tmp_path, "faiss")


def test_a_folder_that_is_checked_has_the_copies_that_hashes_find(tmp_path: Path) -> None:
    bench_check.write(tmp_path, bench_check.COPIES + 20)
    groups = [sorted(map(sorted, side(tmp_path))) for side in bench_check.SIDES.values()]
    assert groups[0] == groups[1] == groups[2] == [["0000/000098.jpg", "0000/000099.jpg"]]


@pytest.mark.slow
def test_an_update_counts_the_files_that_hashes_and_times_find_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_update, "TICK", 2.1)
    bench_update.prepare(tmp_path, 5)
    assert [side(tmp_path) for side in bench_update.SIDES.values()] == [5, 5, 5]
    changed = next((tmp_path / "files").rglob("*.jpg"))
    changed.write_bytes(changed.read_bytes() + b"\0")
    sides = reversed(bench_update.SIDES.values())  # an update makes the change known
    assert [side(tmp_path) for side in sides] == [4, 4, 4]


def test_vectors_of_another_program_are_found_as_faiss_finds_them(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    import_index.write(tmp_path, 60)
    assert import_index.same(tmp_path)
