"""Checkpoints from the Hugging Face hub: `hf-hub:organisation/name`, perhaps with `@revision`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from deixis.errors import DeixisError
from deixis.zoo.layouts import huggingface, openclip
from deixis.zoo.published import PublishedModel, same_weights

__all__ = ["PREFIX", "answers", "published", "require_reachable", "snapshot"]

PREFIX = "hf-hub:"

PATIENCE = 8.0
"""Seconds within which the hub must answer a first request. Its client would retry each file five times."""

_MARKS = (openclip.CONFIG, huggingface.CONFIG, "tokenizer.json")
_SMALL = ["*.json", "merges.txt", "README.md"]


def snapshot(name: str) -> Path:
    """The folder with a repository's settings and one file of weights, out of the hub's own cache where it is there.

    Where a repository holds a model for open_clip and for transformers, open_clip's is taken, and only that fetched.

    Args:
        name: as in `hf-hub:organisation/name`.

    Raises:
        DeixisError: the hub can't be reached, knows no such repository, or it holds no weights.
    """
    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise DeixisError(f"{name!r} names no repository of the hub.", "Write hf-hub:organisation/name.")
    known = same_weights(repository)
    about = "" if known is None else known.about()
    folder = _fetch(repository, revision or None, _SMALL, about)
    here = (folder / openclip.CONFIG).is_file()
    for weights in openclip.WEIGHTS if here else huggingface.WEIGHTS:
        shards = weights.replace(".safetensors", "-*.safetensors").replace(".bin", "-*.bin")
        indexed = (folder / f"{weights}.index.json").is_file()
        folder = _fetch(repository, revision or None, [*_SMALL, shards if indexed else weights], about)
        if indexed or (folder / weights).is_file():
            return folder
    raise DeixisError(
        f"The repository {repository} holds no weights that can be loaded.",
        f"Those known are: {', '.join((*openclip.WEIGHTS, *huggingface.WEIGHTS))}.",
    )


def published(model: PublishedModel) -> tuple[Path, Path]:
    """The folder with the weights of a published model, and the one with its tokenizer, which may lie elsewhere.

    Raises:
        DeixisError: the hub can't be reached, or has no such file.
    """
    names = [model.file] if model.file else list(openclip.WEIGHTS)
    for weights in names:
        folder = _fetch(model.repository, None, [*_SMALL, weights], model.about())
        if (folder / weights).is_file():
            break
    else:
        raise DeixisError(f"The repository {model.repository} holds none of {', '.join(names)}.")
    words = model.settings["model_cfg"]["text_cfg"]
    other = words.get("hf_tokenizer_name") or words.get("hf_model_name")
    if not other or (folder / "tokenizer.json").is_file():
        return folder, folder
    return folder, _fetch(other, None, ["tokenizer*.json"], f"the tokenizer of {other}")


def _fetch(repository: str, revision: str | None, patterns: list[str], about: str = "") -> Path:
    import huggingface_hub

    try:
        require_reachable(repository, _MARKS)
        return Path(huggingface_hub.snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except Exception as error:  # the hub's own, and those of whatever it speaks through
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        wanted = f" It would be fetched: {about}." if about else ""
        raise DeixisError(
            f"{PREFIX}{repository} is not available from the hub: "
            f"{lines[0].rstrip('.') if lines else type(error).__name__}.{wanted}",
            "Check the name and the network; or fetch the folder by other means and load it by its path; or try the "
            "starter, which needs no hub: deixis data get starter",
        ) from error


def require_reachable(repository: str, files: Sequence[str]) -> None:
    """Sends the hub one request for a repository, without retries, unless a file is cached or `HF_HUB_OFFLINE` is set.

    Args:
        repository: as in `organisation/name`.
        files: alternatives, any of which will do.

    Raises:
        OSError: the hub does not answer within `PATIENCE` seconds; that it answers with an error is no concern here.
    """
    import huggingface_hub
    from huggingface_hub import constants

    cached = any(isinstance(huggingface_hub.try_to_load_from_cache(repository, file), str) for file in files)
    if cached or constants.HF_HUB_OFFLINE:
        return
    if (failure := _request(repository, files[0], PATIENCE)) is not None:
        raise OSError(f"the hub at {constants.ENDPOINT} can't be reached ({failure})")


def answers(repository: str, file: str, seconds: float = 1.0) -> bool:
    """Whether the hub answers at once, so that a repository can be offered; not where `HF_HUB_OFFLINE` is set.

    Args:
        repository: as in `organisation/name`.
        file: one of its files.
        seconds: that are waited for.
    """
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE and _request(repository, file, seconds) is None


def _request(repository: str, file: str, seconds: float) -> object | None:
    """Why the hub does not answer within some seconds; None where it does, be it with an error."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    failed: list[object] = [f"no answer within {seconds:g} seconds"]

    def send() -> None:
        try:
            huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(repository, file), timeout=seconds)
        except HfHubHTTPError:
            failed.clear()
        except Exception as error:  # of whatever the client speaks through
            failed[:] = [error]
        else:
            failed.clear()

    # In a thread, since the timeout of a request holds for each address of the hub, and not for looking these up.
    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    sending.join(seconds)
    return failed[0] if failed else None
