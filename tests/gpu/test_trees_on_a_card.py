"""The decoder of trees on a GPU: kernels against plain operations, 16 bits against float32, graphs against none."""

from __future__ import annotations

import pytest
import torch

from common.models.generation.asking import Asked
from common.models.generation.decoding import Decoding
from tests.bench.bench_decode import LOADS, Bench
from tests.bench.models.random_models import random_model
from tests.unit.models.generation.tree_kernel_check import attention_error, gate_error, trunk_error

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("shape", [(3, 5, 4, 4, 32), (2, 1, 4, 2, 128), (2, 3, 8, 2, 64)])
def test_kernels_are_plain_attention(shape: tuple[int, int, int, int, int]) -> None:
    assert attention_error(*shape, dtype=torch.bfloat16, device="cuda") < 2e-2
    assert gate_error(torch.bfloat16, "cuda") < 1e-2


@pytest.mark.parametrize(("shape", "before"), [((4, 4, 32), 0), ((8, 2, 64), 7), ((32, 32, 128), 35)])
def test_kernel_of_trunks_is_plain_attention(shape: tuple[int, int, int], before: int) -> None:
    """Rotations are rounded once there, twice in plain operations."""
    assert trunk_error(shape, 90, before, torch.bfloat16, "cuda") < 2e-2


@pytest.mark.parametrize("beams", [1, 4])
def test_float32_ids_are_those_of_transformers(beams: int) -> None:
    """More images than slots, prompts of unequal length."""
    cuda = torch.device("cuda")
    model = random_model("llava", cuda, torch.float32, "tiny")
    width = model.lm.config.hidden_size
    features = torch.randn(9, 4, width, device=cuda, generator=torch.Generator(cuda).manual_seed(1))
    prompts = [model.encode_prompt(model.format_prompt("a b c " * (1 + n % 3))) for n in range(9)]
    expected = model.continue_batch(features, prompts, Decoding(beams, 12), [""] * 9)
    questions = [Asked((prompt,), (str(n),)) for n, prompt in enumerate(prompts)]
    found = {said.asked: said.ids for said in model.answers(questions, features, Decoding(beams, 12), 4)}
    assert [found[n] for n in range(9)] == expected


@pytest.mark.parametrize("sampled", [False, True])
def test_nothing_depends_on_neighbours_or_order(sampled: bool) -> None:
    """In bfloat16: a text is the same to the token whatever is grown beside it."""
    cuda = torch.device("cuda")
    model = random_model("llava", cuda, torch.bfloat16, "middle")
    width = model.lm.config.hidden_size
    features = torch.randn(24, 4, width, device=cuda, generator=torch.Generator(cuda).manual_seed(1)).bfloat16()
    prompt = model.encode_prompt(model.format_prompt("a b c"))
    how = Decoding(1, 20, do_sample=sampled, seed=0)

    def grown(order: list[int]) -> dict[int, list[int]]:
        questions = [Asked((prompt,), (str(n),)) for n in order]
        seen = [features[n] for n in order]
        return {order[said.asked]: said.ids for said in model.answers(questions, seen, how, 8)}

    whole = grown(list(range(24)))
    assert grown(list(range(23, -1, -1))) == whole
    assert grown([5, 17, 3, 9, 11, 0, 22, 8, 13]) == {n: whole[n] for n in (5, 17, 3, 9, 11, 0, 22, 8, 13)}


def test_log_probabilities_in_16_bits_are_as_near_to_float32_as_transformers() -> None:
    """Of 8 layers of 1,024: 2e-2 for every id is more than 16 bits can hold (`python -m tests.bench.rounding`)."""
    bench = Bench(LOADS["7b"], torch.device("cuda"), [])
    with torch.no_grad():
        bench.check()
    for row in bench.rows:
        assert row["mean"] < 2e-2 and row["largest"] < 0.1
        assert row["mean"] <= 1.2 * row["mean_of_transformers"]
