"""What the mini models are pretrained on: rows, labels, batches and losses, at the smallest size."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from common import prompts
from dataset.mini import pretrain_clip, pretrain_llava
from dataset.mini.categories import CATEGORIES
from dataset.mini.corpus import CAPTIONS_PER_IMAGE, Corpus, make_example
from dataset.mini.layout import IMAGE_SIZE, generator, make_layout
from dataset.mini.paint import paint
from dataset.mini.pretrain_llava import IMAGE_TOKENS, MEAN, ROW, STD, TextEncoder
from dataset.mini.tokenizer import llava_tokenizer, train_bpe
from dataset.mini.vision_warmup import LOOK_NUMBER, PatchDataset, patch_labels
from dataset.mini.vision_warmup import collate as collate_patches

COUNT = 12


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """A dozen images, drawn in this process."""
    pixels, patches, examples = [], [], []
    for index in range(COUNT):
        rng = generator("tune", 80, index)
        picture, layout = paint(make_layout(rng), rng)
        pixels.append(np.asarray(picture))
        patches.append(patch_labels(layout))
        examples.append(make_example(layout, rng))
    return Corpus(np.stack(pixels), np.stack(patches), tuple(examples))


@pytest.fixture(scope="module")
def tokenizer(corpus: Corpus) -> PreTrainedTokenizerFast:
    """Learned from these images' texts."""
    return llava_tokenizer(train_bpe(pretrain_llava.tokenizer_texts(corpus)))


def test_a_row_is_prompt_image_answer_end(tokenizer: PreTrainedTokenizerFast) -> None:
    ids, skipped = TextEncoder(tokenizer).row(prompts.TRAIN, "A dog.")
    assert ids[0] == 1 and ids[-1] == 2 and ids.count(1) == ids.count(2) == 1
    image = [i for i, token in enumerate(ids) if token == 259]
    assert image == list(range(image[0], image[0] + IMAGE_TOKENS)) and image[-1] < skipped
    text = tokenizer.decode([token for token in ids if token != 259], skip_special_tokens=True)
    assert text.endswith(f"{prompts.TRAIN} ASSISTANT: A dog.") and re.search(r"USER: +\n", text)
    assert tokenizer.decode(ids[skipped:-1]) == "A dog."


def test_labels_cover_the_answer_alone(corpus: Corpus, tokenizer: PreTrainedTokenizerFast) -> None:
    data = pretrain_llava.PretrainDataset(corpus, TextEncoder(tokenizer), visits=2)
    rows = [data[i] for i in range(len(data))]
    batch = pretrain_llava.collate(rows)
    assert batch["input_ids"].shape == batch["labels"].shape == (2 * COUNT, ROW)
    for row, ids, labels in zip(rows, batch["input_ids"], batch["labels"], strict=True):
        wanted = labels != -100
        assert torch.equal(ids[wanted], labels[wanted])
        assert labels[wanted].tolist() == row["ids"][row["skipped"] : ROW]
        assert len(row["ids"]) <= ROW, "an answer is cut"


def test_texts_of_an_image_change_with_the_visit_and_not_with_the_run(
    corpus: Corpus, tokenizer: PreTrainedTokenizerFast
) -> None:
    data = pretrain_llava.PretrainDataset(corpus, TextEncoder(tokenizer), visits=CAPTIONS_PER_IMAGE)
    again = pretrain_llava.PretrainDataset(corpus, TextEncoder(tokenizer), visits=CAPTIONS_PER_IMAGE)
    assert len(data) == CAPTIONS_PER_IMAGE * COUNT
    assert [data[i]["ids"] for i in range(len(data))] == [again[i]["ids"] for i in range(len(again))]
    different = sum(data[i]["ids"] != data[i + COUNT]["ids"] for i in range(COUNT))
    assert different == COUNT
    assert np.array_equal(data[3]["pixels"], data[3 + COUNT]["pixels"])


def test_pixels_are_normalised_as_clip_wants_them() -> None:
    pixels = torch.tensor([[[[0, 128, 255]]]], dtype=torch.uint8)
    wanted = [(value / 255 - m) / s for value, m, s in zip((0, 128, 255), MEAN, STD, strict=True)]
    assert torch.allclose(pretrain_llava.normalise(pixels).flatten(), torch.tensor(wanted), atol=1e-6)


def test_the_untrained_loss_is_that_of_guessing(corpus: Corpus, tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    model = pretrain_llava.build_model(len(tokenizer), 259)
    data = pretrain_llava.PretrainDataset(corpus, TextEncoder(tokenizer), visits=1)
    loss = pretrain_llava.caption_loss(model, pretrain_llava.collate([data[0], data[1]]))
    assert loss.item() == pytest.approx(np.log(len(tokenizer)), rel=0.05)
    loss.backward()
    assert all(p.grad is not None for p in model.model.multi_modal_projector.parameters())


@pytest.mark.parametrize(("steps", "visits"), [(1, 1), (100, 1), (101, 2), (250, 3)])
def test_visits_are_rounded_up(steps: int, visits: int) -> None:
    args = pretrain_llava.PretrainArguments(images=1000, batch_size=10)
    assert pretrain_llava.visits_of(steps, args) == visits


def test_patch_batches(corpus: Corpus) -> None:
    data = PatchDataset(corpus.pixels, corpus.patches, visits=2)
    batch = collate_patches([data[0], data[COUNT + 1]])
    assert len(data) == 2 * COUNT
    assert batch["pixels"].shape == (2, IMAGE_SIZE, IMAGE_SIZE, 3)
    assert torch.equal(batch["patches"][1], torch.from_numpy(corpus.patches[1]))
    assert corpus.patches.max() <= len(LOOK_NUMBER)


def test_names_of_the_scorer_belong_to_their_category(corpus: Corpus) -> None:
    names, numbers = pretrain_clip.object_names()
    assert len(names) == len(set(names)) == len(numbers)
    owner = dict(zip(names, numbers, strict=True))
    assert CATEGORIES[owner["puppies"]].name == "dog" and CATEGORIES[owner["taxi"]].name == "car"
    data = pretrain_clip.PresenceDataset(corpus, visits=1)
    for index, example in enumerate(corpus.examples):
        present = {CATEGORIES[i].name for i in np.flatnonzero(data[index]["present"])}
        assert present == set(example.categories)


def test_held_out_auroc_of_a_scorer_that_knows_and_of_one_that_does_not(corpus: Corpus) -> None:
    names = sorted({name for e in corpus.examples for name in (*e.present, *e.absent)})

    class Oracle:
        """Embeds a picture as its number and a name by the pictures that it is in; `sign` turns it round."""

        def __init__(self, sign: float) -> None:
            self.sign = sign

        def encode_text(self, texts: torch.Tensor, **_: bool) -> torch.Tensor:
            rows = [[float(names[int(i)] in e.present) for e in corpus.examples] for i in texts]
            return self.sign * torch.tensor(rows)

        def encode_image(self, pixels: torch.Tensor, **_: bool) -> torch.Tensor:
            return torch.eye(len(pixels))

    def tokenize(texts: list[str]) -> torch.Tensor:
        return torch.tensor([names.index(t.removeprefix("A photo containing ").removesuffix(".")) for t in texts])

    device = torch.device("cpu")
    assert pretrain_clip.held_out_auroc(Oracle(1.0), tokenize, corpus, device) == 1.0
    assert pretrain_clip.held_out_auroc(Oracle(-1.0), tokenize, corpus, device) == 0.0
    assert pretrain_clip.held_out_auroc(Oracle(0.0), tokenize, corpus, device) == 0.5
