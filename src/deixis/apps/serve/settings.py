"""Settings of `deixis serve`: each field is a flag. Does not import torch."""

from __future__ import annotations

import dataclasses

from deixis.apps.common.options import ComputeSettings

__all__ = ["ServeSettings"]


@dataclasses.dataclass(frozen=True)
class ServeSettings(ComputeSettings):
    """Address, access and limits of the server.

    Attributes:
        host: address to listen on; any other than this machine's own admits other machines and requires --token.
        port: port to listen on; 0 chooses a free one and prints it.
        token: secret that clients must send; `auto` generates one and prints it. Other users of this machine can read
            command lines.
        ground: run folder whose method offers `ground`, for POST /ground; by default the served run, if its does.
        rerank: run folder whose method offers `match`: the page then offers to score the first results again by it.
        labels: csv that the page saves captions and labels in, each at once; it need not exist yet. Clients can label
            the pictures of the index, and write to no other file.
        captions: csv of `deixis caption` whose drafts the page shows, to be accepted or edited, each saved at once.
        words: folder that `deixis words` wrote: the page shows what tags go with and look like, and the tags that
            pictures probably lack, each saved in its tags.csv as it is accepted or refused.
        folder: folders that clients may index for new pictures; no other folder is read.
        body_mb: maximum size of a request, in megabytes.
        megapixels: maximum size of an uploaded picture, in megapixels.
        letters: maximum length of a text, in characters.
        queue: maximum number of requests waiting for the model; further ones are rejected with a retry time.
        seconds: time limit for receiving a request, and for answering it, in seconds.
    """

    host: str = "127.0.0.1"
    port: int = 7878
    token: str = ""
    ground: str = ""
    rerank: str = ""
    folder: tuple[str, ...] = ()
    labels: str = ""
    captions: str = ""
    words: str = ""
    body_mb: float = 32.0
    megapixels: float = 50.0
    letters: int = 2000
    queue: int = 256
    seconds: float = 30.0
