"""DPTR: text states stand in for those of pictures, disturbed by photographs; the mapper gathers; both as stored."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deixis import engine, zoo
from deixis.engine.training.train import fit
from deixis.errors import DeixisError
from deixis.methods import dptr
from deixis.methods.baselines import parseq
from deixis.types import Batch, Progress
from tests.methods.reading import attention_state, gradients_of, stored_decoder
from tests.support import load_golden

CLOSE = {"rtol": 1e-9, "atol": 1e-12}
_NAMES = {"attn": "attention", "query": "query"}


def stored_mapper(golden: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors of the mapper by our names."""
    found: dict[str, Tensor] = {}
    for key, value in golden.items():
        name = key.removeprefix(prefix)
        if name == "query":
            found["query"] = value[0]
        elif name != key:
            found |= {n.replace("attn", "attention"): each for n, each in attention_state(name, value).items()}
    return found


@pytest.mark.golden
def test_the_disturbed_memory_the_loss_and_its_gradients_are_the_stored_ones() -> None:
    golden = load_golden("dptr_orp")
    memory, bank = golden["in.text_memory"], golden["in.feature_bank"]
    again = dptr.pseudo_memory(memory[:, 0], memory[:, 1:])
    disturbed = dptr.perturb(
        again, bank, golden["in.image_index"], golden["in.token_index"], float(golden["cfg.scale"])
    )
    torch.testing.assert_close(disturbed, golden["out.perturbed_memory"], **CLOSE)
    decoder, ids, orders = stored_decoder(golden), golden["in.token_ids"], golden["in.permutations"]
    content, query = parseq.permutation_masks(orders[0])
    known = ids[:, :-1]
    real = (known != decoder.padding) & (known != 0)
    states = decoder.states(known, disturbed, content[None], query[None], real)
    torch.testing.assert_close(decoder.head(states[:, 0]), golden["out.logits_first_permutation"], **CLOSE)
    loss = parseq.permuted_loss(parseq.character_losses(decoder, disturbed, ids, orders))
    torch.testing.assert_close(loss, golden["out.loss"], **CLOSE)
    loss.backward()
    expected = gradients_of(golden)
    assert expected.keys() == dict(decoder.named_parameters()).keys()
    for name, value in expected.items():
        torch.testing.assert_close(decoder.get_parameter(name).grad, value, **CLOSE)


@pytest.mark.golden
def test_the_mapper_and_its_gradients_are_the_stored_ones() -> None:
    golden = load_golden("dptr_fmu")
    queries, width = golden["param.query"].shape[1:]
    mapper = dptr.QueryMapper(queries, width, int(golden["cfg.num_heads"]), len(golden["param.ffn_in.bias"])).double()
    mapper.load_state_dict(stored_mapper(golden, "param."))
    assert mapper.norm.eps == float(golden["cfg.layer_norm_eps"])
    memory = golden["in.memory"].clone().requires_grad_()
    found = mapper(memory)
    torch.testing.assert_close(found, golden["out.memory"], **CLOSE)
    (found * golden["in.cotangent"]).sum().backward()
    torch.testing.assert_close(memory.grad, golden["grad.in.memory"], **CLOSE)
    for name, value in stored_mapper(golden, "grad.param.").items():
        torch.testing.assert_close(mapper.get_parameter(name).grad, value, **CLOSE)


def test_the_queries_of_the_mapper_are_drawn() -> None:
    mapper = dptr.QueryMapper(26, 32, 4, 64)
    assert 0.01 < float(mapper.query.detach().std()) < 0.03


@pytest.fixture(scope="module")
def method() -> dptr.Method:
    return engine.build("dptr", "tiny", {"sample.template": "{}"}, {"encoder": "characters:16x64:tiny"}).eval()


def test_states_of_the_text_stand_where_its_characters_do_and_padding_is_part_of_the_memory(
    method: dptr.Method,
) -> None:
    encoder = method.encoder
    memory = method.text_memory(encoder.tokenize(["tea", "teapot"]))
    assert memory.shape == (2, 1 + 12, encoder.width)
    torch.testing.assert_close(
        torch.nn.functional.normalize(memory[:, 0], dim=-1), encoder.encode_text(["tea", "teapot"])
    )
    torch.testing.assert_close(memory[0, 1:5], memory[1, 1:5])  # [START] t e a: causal, hence equal
    assert not torch.allclose(memory[0, 5], memory[1, 5])
    torch.testing.assert_close(method.text_memory(encoder.tokenize(["tea"]))[0], memory[0])


def test_photographs_disturb_samples_on_their_own_and_positions_of_all_alike(method: dptr.Method) -> None:
    own = engine.build("dptr", "tiny", {"bank": 3}, {"encoder": method.encoder})
    pictures = Batch(tuple("abcd"), images=torch.randn(4, 3, 16, 64))
    stages = own.stages()
    assert [stage.name for stage in stages] == ["bank", "text", "image"]
    fit(own, [pictures.take([0, 1]), pictures.take([2, 3])], stages[0])
    assert own.bank.shape == (3, 1 + 32, method.encoder.width)
    nothing, batch = torch.zeros(4, 5, method.encoder.width), Batch(tuple("wxyz"))
    noise = own._disturbed(nothing, batch, Progress(stage="text"))
    alone = own._disturbed(nothing[:1], batch.take([2]), Progress(stage="text"))
    torch.testing.assert_close(alone[0], noise[2])
    states = 0.1 * own.bank
    places = [[int((states[i] - row).abs().sum(-1).argmin()) for row in noise[0]] for i in range(3)]
    match = [i for i in range(3) if torch.allclose(states[i][places[i]], noise[0])]
    assert match, "the noise is none of the photographs'"
    fresh = engine.build("dptr", "tiny", {}, {"encoder": method.encoder})
    fresh.take_sizes({"bank": tuple(own.bank.shape)})
    assert fresh.bank.shape == own.bank.shape


def test_rivals_leave_out_stages_and_what_they_need() -> None:
    stages = {
        name: [stage.name for stage in engine.build("dptr", "tiny", settings).stages()]
        for name, settings in (
            ("language model", {"pretrain": "empty"}),
            ("random", {"pretrain": "none"}),
            ("undisturbed", {"perturbation": 0.0}),
        )
    }
    assert stages == {"language model": ["text", "image"], "random": ["image"], "undisturbed": ["text", "image"]}
    assert engine.build("dptr", "tiny", {"queries": 0}).mapper is None


def test_capitals_are_not_asked_of_a_text_whose_tokens_have_none_and_it_says_so() -> None:
    folding = zoo.scratch.build(["a word"], "tiny", 32)
    keeps, folds = (engine.build("dptr", "tiny", {"alphabet": "62"}, {"encoder": e}) for e in ("tiny", folding))
    assert (keeps.folds, folds.folds) == (False, True)
    now = Progress(stage="text")
    assert "capitals" in folds.warnings({}, now)
    assert "capitals" not in {**keeps.warnings({}, now), **folds.warnings({}, Progress(stage="image"))}


def test_an_image_tower_starts_as_the_encoders_where_their_sizes_are_the_same() -> None:
    encoder = zoo.load("characters:16x64:tiny")
    sizes = {"view.size": 16, "view.width": 64, "patch": (4, 8), "width": 32, "depth": 1, "heads": 1}
    own = engine.build("dptr", "tiny", {**sizes, "vision": "encoder"}, {"encoder": encoder})
    for name, value in encoder.image_tower.network.state_dict().items():
        assert torch.equal(own.vision.state_dict()[name], value)
    assert own.bridge is None
    assert own.read(torch.randn(2, 3, 16, 64)) is not None
    with pytest.raises(DeixisError, match="can't start from"):
        engine.build("dptr", "tiny", {"vision": "encoder"}, {"encoder": encoder})


def test_a_dual_encoder_of_characters_tells_the_order_of_letters_and_comes_back_from_a_folder(tmp_path: object) -> None:
    encoder = zoo.load("characters:16x64:tiny")
    one, other = encoder.encode_text(["tea", "eat"])
    assert not torch.allclose(one, other)
    assert encoder.encode_image(torch.randn(1, 3, 16, 64)).shape == (1, encoder.width)
    zoo.save(encoder, str(tmp_path))
    assert zoo.load(str(tmp_path)).fingerprint() == encoder.fingerprint()
    with pytest.raises(DeixisError, match="no model 'characters:wide'"):
        zoo.load("characters:wide")
