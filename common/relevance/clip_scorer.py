"""Image relevance by a contrastive model of open_clip: unit embeddings of texts and of image windows.

Pixels go to the device as bytes; windows are cut and resized there, over a batch of images at once, and embeddings
stay there. Resizing computes in float32 whatever the model's type: weights of 8 bits would move pixels by up to a
level, and the time is the encoder's. A whole image is squeezed to the model's square rather than cropped, so that an
object at the edge is not lost.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import CheckpointError, MissingDependencyError, first_line, plain
from common.files.hub import TOKENIZER_CONFIG, WEIGHTS, has_tokenizer, no_tokenizer
from common.paths import display
from common.relevance.windows import WindowGrid, cut_windows

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

LOCAL = "local-dir:"
WINDOWS_AT_ONCE = {"cpu": 256, "cuda": 640}  # through the image encoder: bounds memory, and fills the device


@dataclass
class ClipScorer:
    """A loaded open_clip model.

    Attributes:
        model: the open_clip model, in evaluation mode on `device`.
        tokenize: list of texts -> token ids [n, length].
        size: height and width of the image encoder's input.
        mean, std: of the pixel normalisation, three numbers each.
        interpolation: `bicubic` or `bilinear`.
    """

    model: Any
    tokenize: Any
    device: str
    dtype: torch.dtype
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str

    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit embeddings [n, width], float32 on the model's device."""
        import torch

        with torch.inference_mode():
            tokens = self.tokenize(list(texts)).to(self.device)
            return _unit(self.model.encode_text(tokens))

    def embed_images(self, images: Sequence[torch.Tensor | Image], grids: Sequence[WindowGrid]) -> list[torch.Tensor]:
        """Unit embeddings [windows, width] of each image's windows, float32 on the model's device.

        Images of one size are worked on together; their windows pass the encoder in groups of fixed size.

        Args:
            images: uint8 [height, width, 3], or RGB images of Pillow.
            grids: of each.
        """
        import torch

        embedded: list[torch.Tensor] = [torch.empty(0)] * len(images)
        pixels = [_pixels(image) for image in images]
        for indices in _same_size(pixels, grids):
            grid = grids[indices[0]]
            there = torch.stack([pixels[i].to(self.device, non_blocking=True) for i in indices])
            rows = self._encode(cut_windows(there.permute(0, 3, 1, 2), grid))
            for i, part in zip(indices, rows.split(grid.windows), strict=True):
                embedded[i] = part
        return embedded

    def _encode(self, windows: torch.Tensor) -> torch.Tensor:
        """[n, 3, height, width] uint8 -> unit embeddings [n, width]."""
        import torch

        with torch.inference_mode():
            at_once = WINDOWS_AT_ONCE.get(self.device.partition(":")[0], WINDOWS_AT_ONCE["cpu"])
            parts = [_unit(self.model.encode_image(self.prepare(part))) for part in windows.split(at_once)]
        return torch.cat(parts)

    def prepare(self, windows: torch.Tensor) -> torch.Tensor:
        """Resize (antialiased, as Pillow does) and normalise uint8 windows to the encoder's input."""
        import torch
        import torch.nn.functional as nn

        pixels = windows.float()
        if tuple(pixels.shape[-2:]) != self.size:
            pixels = nn.interpolate(pixels, self.size, mode=self.interpolation, antialias=True, align_corners=False)
        pixels.clamp_(0, 255).round_()  # Pillow rounds to whole levels; so does the usual preprocessing
        at_once = self._at_once
        if at_once is not None:
            return torch.addcmul(at_once[0], pixels, at_once[1]).to(self.dtype)
        mean, std = self._normalisation
        return pixels.div_(255).sub_(mean).div_(std).to(self.dtype)

    @cached_property
    def _normalisation(self) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        mean, std = (torch.tensor(v, device=self.device)[:, None, None] for v in (self.mean, self.std))
        return mean, std

    @cached_property
    def _at_once(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Shift and factor that normalise in one pass on a GPU; None if one of 256 levels came out another number."""
        import torch

        if not self.device.startswith("cuda"):
            return None
        mean, std = self._normalisation
        shift, factor = -mean / std, 1 / (255 * std)
        levels = torch.arange(256, dtype=torch.float32, device=self.device)[None, None].expand(len(self.mean), 1, 256)
        same = torch.addcmul(shift, levels, factor).to(self.dtype) == levels.div(255).sub(mean).div(std).to(self.dtype)
        return (shift, factor) if bool(same.all()) else None


def _unit(embeddings: torch.Tensor) -> torch.Tensor:
    import torch.nn.functional as nn

    return nn.normalize(embeddings.float(), dim=-1)


def _pixels(image: torch.Tensor | Image) -> torch.Tensor:
    """uint8 [height, width, 3]."""
    import numpy as np
    import torch

    return image if isinstance(image, torch.Tensor) else torch.from_numpy(np.array(image, dtype=np.uint8))


def _same_size(images: Sequence[torch.Tensor], grids: Sequence[WindowGrid]) -> Iterator[list[int]]:
    """Indices of the images that share size and grid, in order of first appearance."""
    groups: dict[tuple[torch.Size, WindowGrid], list[int]] = {}
    for i, (image, grid) in enumerate(zip(images, grids, strict=True)):
        groups.setdefault((image.shape, grid), []).append(i)
    yield from groups.values()


def local_folder(model: str) -> Path | None:
    """The folder that a model argument names (`PATH` or `local-dir:PATH`); None for an open_clip or hub name."""
    if model.startswith(LOCAL):
        return Path(model.removeprefix(LOCAL))
    return Path(model) if Path(model).is_dir() else None


def default_weights(model: str) -> str | None:
    """The weights of a named model where none are given: those that the published scores are of."""
    return "openai" if model in ("ViT-B-32", "ViT-B-32-quickgelu") else None


def load_scorer(model: str, pretrained: str | None, device: str = "cpu", dtype: str = "float32") -> ClipScorer:
    """Load an open_clip model with its tokenizer.

    Args:
        model: open_clip name (`ViT-B-32`), hub name (`hf-hub:org/repo`) or folder with `open_clip_config.json`.
        pretrained: weights of a named model: a tag (`openai`) or a file. Not used for folders.
        dtype: `float32`, `bfloat16` or `float16`.

    Raises:
        MissingDependencyError: open_clip is not installed.
        CheckpointError: unknown name or tag, weights that cannot be had, or a folder that is incomplete.
    """
    try:
        import open_clip
    except ImportError:
        raise MissingDependencyError("open_clip is not installed; run: pip install open_clip_torch") from None
    import torch

    name, weights, quick_gelu = _source(model, pretrained)
    precision = {"float32": "fp32", "bfloat16": "pure_bf16", "float16": "pure_fp16"}[dtype]
    try:
        with _quiet():
            loaded = open_clip.create_model(
                name,
                pretrained=weights,
                precision=precision,
                device=device,
                require_pretrained=True,
                force_quick_gelu=quick_gelu,
            ).eval()
            tokenize = _tokenizer(name)
    except CheckpointError:
        raise
    except Exception as error:  # open_clip raises whatever its readers, the hub or torch raise
        raise CheckpointError(_why_not(model, pretrained, error)) from error
    return scorer_of(loaded, tokenize, open_clip.get_model_preprocess_cfg(loaded), device, getattr(torch, dtype))


def scorer_of(model: Any, tokenize: Any, preprocess: dict[str, Any], device: str, dtype: torch.dtype) -> ClipScorer:
    """Put a loaded model together with what its preprocessing configuration says."""
    from common.relevance.patches import with_patch_product

    size = preprocess["size"]
    height, width = size if isinstance(size, tuple | list) else (size, size)
    return ClipScorer(
        model=with_patch_product(model, device, dtype),
        tokenize=tokenize,
        device=device,
        dtype=dtype,
        size=(int(height), int(width)),
        mean=tuple(preprocess["mean"]),
        std=tuple(preprocess["std"]),
        interpolation="bilinear" if preprocess["interpolation"] == "bilinear" else "bicubic",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log of failed attempts away: the error that ends them is told in one line."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _source(model: str, pretrained: str | None) -> tuple[str, str | None, bool]:
    """Name and weights as open_clip wants them, and whether these weights were trained with QuickGELU.

    open_clip only warns when a tag's activation differs from the named configuration's; the scores would be wrong.
    Raises CheckpointError for a folder without configuration or weights, or a named model without weights.
    """
    import open_clip

    folder = local_folder(model)
    if folder is not None:
        if not (folder / "open_clip_config.json").is_file():
            raise CheckpointError(
                f"{display(folder)} (from --clip_model) holds no open_clip_config.json; give an open_clip folder"
            )
        if not any(file.suffix in WEIGHTS for file in folder.iterdir()):
            raise CheckpointError(
                f"no weights in {display(folder)} (from --clip_model): none in {', '.join(WEIGHTS)}; copy the release's"
            )
        return f"{LOCAL}{folder.resolve()}", None, False
    if ":" in model:
        return model, None, False
    if model not in open_clip.list_models():
        raise CheckpointError(f"--clip_model {model} is neither a folder nor an open_clip model{_nearest(model)}")
    if pretrained is None:
        raise CheckpointError(f"--clip_model {model} needs weights; give --clip_pretrained a tag or a file")
    tag = open_clip.get_pretrained_cfg(model, pretrained) or {}
    return model, pretrained, bool(tag.get("quick_gelu", False))


def _nearest(model: str) -> str:
    import open_clip

    from common.errors import suggestion

    return suggestion(model, open_clip.list_models())


def _tokenizer(name: str) -> Any:
    """open_clip's tokenizer, never of code of its own. Raises CheckpointError for a folder without its files."""
    import open_clip

    text = (open_clip.get_model_config(name) or {}).get("text_cfg") or {}
    if not text.get("hf_tokenizer_name"):
        return open_clip.get_tokenizer(name)
    if name.startswith(LOCAL) and not has_tokenizer(folder := Path(name.removeprefix(LOCAL))):
        raise no_tokenizer(folder, "--clip_model")
    tokenize = open_clip.get_tokenizer(name, trust_remote_code=False)  # over what the configuration says
    tokenize(["a"])  # one without its settings fails on its first text only
    return tokenize


def _why_not(model: str, pretrained: str | None, error: Exception) -> str:
    weights = f" with --clip_pretrained {pretrained}" if pretrained else ""
    reason = first_line(error).partition(". Last error")[0].rstrip(" .:")
    folder = local_folder(model)
    if folder is not None:
        settings = "" if (folder / TOKENIZER_CONFIG).is_file() else f", with {TOKENIZER_CONFIG}"
        return f"cannot load --clip_model {model} ({plain(reason, 200)}); copy the release's folder whole{settings}"
    return (
        f"cannot load --clip_model {model}{weights} ({reason}); where nothing can be downloaded, give the weights as a "
        "file with --clip_pretrained, or an open_clip folder with --clip_model"
    )
