"""How a checkpoint is loaded, as paragraphs of its card that run as they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from json import dumps
from shlex import quote

from common.errors import plain
from common.prompts import CAPTION_EVAL

TRANSFORMERS, PEFT, OURS = "transformers", "peft", "efuf"


@dataclass(frozen=True)
class Loading:
    """What a reader needs to load it.

    Attributes:
        library: transformers, peft or efuf (this project's scripts), by the Hub's names.
        family: `--model`.
        base: of an adapter or of trained tensors: the model that they are laid over, as one would name it.
        prompt: the whole text input, for a processor without a chat template; None: it has one.
        decoder_only: whether an adapter lies over a language model.
    """

    library: str
    family: str
    base: str | None = None
    prompt: str | None = None
    decoder_only: bool = False

    def paragraphs(self, place: str) -> list[str]:
        """Markdown.

        Args:
            place: a repository's name, or a folder's, which the reader has below the working directory.
        """
        here = f"place = {dumps(place)}  # this folder, or the repository that holds it"
        if self.library == TRANSFORMERS:
            return [_code([*_IMPORTS, "", here, *_LOAD, *self._ask()])]
        if self.library == PEFT:
            return [_code(self._adapter(here))]
        return ["With the code of this project:", _code(self._ours(here)), _code(self._command(place), "sh")]

    def _command(self, place: str) -> list[str]:
        kind = "ckpt_load_path" if self.base else "path"
        base = f"--{self.family}_path {quote(plain(self.base))} " if self.base and self.base != BUNDLED else ""
        return [
            f"python evaluate/eval_caption.py --model {self.family} \\",
            f"    {base}--{self.family}_{kind} {quote(plain(place))} \\",
            "    --image_dir_path IMAGES --caption_eval_path captions.jsonl",
            "# deploy/export.py, with the same flags of the model, makes a folder for other tools",
        ]

    def _ours(self, here: str) -> list[str]:
        paths = f"path={dumps(self.base)}, ckpt=place" if self.base else "path=place"
        paths = "ckpt=place" if self.base == BUNDLED else paths
        return [
            "from PIL import Image",
            "from common.models import load_model",
            "",
            here,
            f'model = load_model("{self.family}", {paths})',
            f'prompt = model.format_prompt("{CAPTION_EVAL}")',
            'print(model.generate([Image.open("photo.jpg")], [prompt])[0])',
        ]

    def _adapter(self, here: str) -> list[str]:
        kind = "AutoModelForCausalLM" if self.decoder_only else "AutoModelForImageTextToText"
        return [
            "from peft import PeftModel",
            f"from transformers import {kind}",
            "",
            here,
            f"base = {kind}.from_pretrained({dumps(self.base or 'BASE')})",
            "model = PeftModel.from_pretrained(base, place)",
        ]

    def _ask(self) -> list[str]:
        if self.prompt is None:
            turn = f'{{"role": "user", "content": [{{"type": "image"}}, {{"type": "text", "text": "{CAPTION_EVAL}"}}]}}'
            ask = [f"turn = {turn}", "prompt = processor.apply_chat_template([turn], add_generation_prompt=True)"]
        else:
            ask = [f"prompt = {self.prompt!r}"]
        return [
            *ask,
            'inputs = processor(text=prompt, images=Image.open("photo.jpg"), return_tensors="pt")',
            "ids = model.generate(**inputs, max_new_tokens=200)",
            'print(processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
        ]


BUNDLED = "the bundled model"  # which needs no name
_IMPORTS = ("from PIL import Image", "from transformers import AutoModelForImageTextToText, AutoProcessor")
_LOAD = (
    "model = AutoModelForImageTextToText.from_pretrained(place)",
    "processor = AutoProcessor.from_pretrained(place)",
)


def _code(lines: Sequence[str], language: str = "python") -> str:
    return "\n".join((f"```{language}", *lines, "```"))
