"""Text as token ids: bytes, or what a pretrained model's tokenizer.json makes of it."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from subspace import files
from subspace.errors import InvalidInput
from subspace.pretrained import TOKENIZER, folder_of

BYTES = "bytes"


class AbstractTokenizer(ABC):
    """Makes token ids of texts.

    Attributes:
        vocabulary: ids are below it.
        pad: the id that fills up a short text.
        mark: digits that differ between tokenizers that make different ids.
    """

    vocabulary: int
    pad: int
    mark: str

    @abstractmethod
    def ids(self, texts: Sequence[str], most: int) -> list[list[int]]:
        """At most so many ids of each text."""

    def rows(self, texts: Sequence[str], most: int) -> np.ndarray:
        """The ids of every text, int32 (N, longest), filled up; ``longest`` is at most ``most``."""
        listed = self.ids(texts, most)
        longest = max((len(one) for one in listed), default=0)
        rows = np.full((len(listed), max(longest, 1)), self.pad, np.int32)
        for row, one in zip(rows, listed, strict=True):
            row[: len(one)] = one
        return rows


@final
class Bytes(AbstractTokenizer):
    """UTF-8, each byte a token from 1 to 256; 0 fills up. Needs no file."""

    vocabulary, pad, mark = 257, 0, BYTES

    def ids(self, texts: Sequence[str], most: int) -> list[list[int]]:
        return [[byte + 1 for byte in text.encode()[:most]] for text in texts]


@final
class Pretrained(AbstractTokenizer):
    """A tokenizer.json of the ``tokenizers`` library, with its special tokens.

    Args:
        file: where it is.
        field: that named it.

    Raises:
        InvalidInput: of ``field``: it is missing or damaged; of ``tokenizer``, the library isn't
            installed.
    """

    def __init__(self, file: Path, field: str):
        content = files.read(file, field)
        try:
            from tokenizers import Tokenizer
        except ImportError:
            said = "needs the library tokenizers; pip install 'subspace-jax[text]'"
            raise InvalidInput("tokenizer", said) from None
        try:
            self._tokenizer: Any = Tokenizer.from_buffer(content)
        except Exception:  # it raises Exception itself
            raise InvalidInput(field, f"{file} is damaged, or no tokenizer.json") from None
        self.vocabulary = self._tokenizer.get_vocab_size()
        self.pad = self._padding()
        self.mark = hashlib.sha256(content).hexdigest()[:16]

    def _padding(self) -> int:
        known = self._tokenizer.padding
        if known:
            return int(known["pad_id"])
        found = (self._tokenizer.token_to_id(name) for name in ("[PAD]", "<pad>"))
        return next((one for one in found if one is not None), 0)

    def ids(self, texts: Sequence[str], most: int) -> list[list[int]]:
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(most)
        return [one.ids for one in self._tokenizer.encode_batch(list(texts))]


def tokenizer(name: str) -> AbstractTokenizer:
    """``bytes``, or that of a folder or ``package:NAME``.

    Raises:
        InvalidInput: there is none, it is damaged, or can't be read here.
    """
    if name == BYTES:
        return Bytes()
    folder = folder_of(name, "tokenizer") or Path(name)
    return Pretrained(folder / TOKENIZER, "tokenizer")
