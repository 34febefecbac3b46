"""Weights from the Hugging Face hub, by name and revision: hf_hub:OWNER/NAME, or hf_hub:OWNER/NAME@REVISION.

What is read is a safetensors file alone; whatever else a repository holds could run code when opened.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from tla.errors import UserError

PREFIX = "hf_hub:"
FILE = "model.safetensors"


def fetched(source: str) -> Path:
    """The file of weights, downloaded or from the hub's cache."""
    from huggingface_hub import errors, hf_hub_download

    name, _, revision = source.removeprefix(PREFIX).partition("@")
    try:
        with as_reachable(), redirect_stdout(sys.stderr):
            return Path(hf_hub_download(name, FILE, revision=revision or None))
    except errors.LocalEntryNotFoundError:
        raise UserError(
            f"{source} cannot be had: the Hugging Face hub does not answer, and its cache lacks {FILE} of {name}; "
            "where there is network, the same command puts it there, and the file itself can be given as well"
        ) from None
    except errors.EntryNotFoundError:
        raise UserError(f"{source} holds no {FILE}: only safetensors are read, since other files could run code") from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError):
        raise UserError(
            f"the Hugging Face hub has no {source}, or not for all: give {PREFIX}OWNER/NAME or ...@REVISION"
        ) from None
    except OSError as error:
        raise UserError(f"{source} cannot be had from the Hugging Face hub ({error})") from None


@contextmanager
def as_reachable() -> Iterator[None]:
    """Ask the hub's cache alone where the hub does not answer: the hub's client would retry for the best part of a minute."""
    from huggingface_hub import constants

    was = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = was or not _answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was


def _answers(url: str) -> bool:
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    try:
        with urlopen(Request(url, method="HEAD"), timeout=5):
            return True
    except HTTPError:
        return True
    except OSError:
        return False
