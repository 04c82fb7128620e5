"""Routes by which a client asks the model: search, embed, explain, ground."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import math
import time
from collections.abc import Mapping, Sequence

import torch
from fastapi import APIRouter
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from deixis.apps.explain.explanations import Explanation
from deixis.apps.explain.overlays import png
from deixis.apps.search.query import Query, SearchResults
from deixis.apps.search.rerank import RERANKED, Reranked
from deixis.apps.serve.batched_search import Encoding, SearchJob
from deixis.apps.serve.errors import RequestError
from deixis.apps.serve.limits import picture_bytes, require_letters
from deixis.apps.serve.models.query_languages import QueryInLanguage
from deixis.apps.serve.pictures import ANY_SIZE, located
from deixis.apps.serve.routes.page_routes import listed_items
from deixis.apps.serve.schemas import (
    Embeddings,
    EmbedRequest,
    ExplainRequest,
    ExplainResponse,
    Failure,
    GroundRequest,
    GroundResponse,
    ListedItem,
    Map,
    Pointed,
    Reranking,
    SearchRequest,
    SearchResult,
    SegmentRequest,
)
from deixis.apps.serve.server_state import CurrentState, ServerState
from deixis.inputs.images import open_image
from deixis.types import Detections

__all__ = ["data_address", "requested_picture", "router"]

router = APIRouter()

_WORDS = 32  # maps in one request
_DEEPEST = 10_000
_SIDE = 640  # of an overlay
_STAND_IN = b""
"""Where a query asks how many pictures there are, and they were read elsewhere."""


@router.post("/search")
async def search(request: SearchRequest, desk: CurrentState) -> SearchResult:
    """Finds pictures by words, pictures, or both; without either, lists the collection as it lies."""
    begun = time.perf_counter()
    with desk.gate.place():
        require_letters([*request.texts, *request.minus_texts, *request.where, request.says], desk.settings.letters)
        desk.searcher.require_text([*request.texts, *request.minus_texts])
        reranks = _reranks(desk, request)
        _require_like_alone(request)
        like = None if request.like is None else await desk.readers(desk.row, request.like)
        known = await desk.readers(_known, desk, request)
        wide = request.model_copy(update={"k": max(RERANKED, request.offset + request.k), "offset": 0})
        own_rows = frozenset(row for row in (like, *known) if row is not None)
        asked = _asked(wide if reranks else request, like, own_rows)
        read = await desk.readers(_in_language, desk, request, asked) if request.language and asked.query else None
        if read is not None:
            asked = dataclasses.replace(asked, query=read.query, measured=read.reader is None)
        pixels = await _pixels(desk, [*request.images, *request.minus_images])
        words = () if asked.query is None else asked.query.texts
        texts = () if asked.query is None else (*words, *asked.query.minus_texts)
        answer: SearchResults
        if request.about and like is not None:
            answer = await desk.model(_alike, desk, request, like)
        else:
            answer = await desk.batcher(Encoding(texts, pixels, asked, read.reader if read else None))
        again = await desk.model(_reranked, desk, words, answer) if reranks else None
    if again is not None:
        page = again.results.found[request.offset : request.offset + request.k]
        answer = dataclasses.replace(again.results, found=page)
    rows = [(each.row, each.item, _number(each.score), each.relevance) for each in answer]
    found = await desk.readers(listed_items, desk.pictures, rows, request.columns)
    own = {row: await desk.readers(_listed, desk, row) for row in {like, *known} - {None}}
    return SearchResult(
        found=found,
        nothing=answer.nothing,
        sentence=answer.sentence,
        total=answer.total,
        seconds=time.perf_counter() - begun,
        like=own.get(like),
        known=[own.get(row) for row in known],
        notes=[] if read is None else list(read.notes),
        english=[] if read is None else list(read.english),
        reranked=None if again is None else Reranking(pairs=again.pairs, seconds=again.seconds),
    )


@router.post("/embed")
async def embed(request: EmbedRequest, desk: CurrentState) -> Embeddings:
    """The model's vectors of texts and pictures, each of length 1."""
    if not request.texts and not request.images:
        raise RequestError(422, "Nothing was sent to be encoded.", "Send texts, or images.")
    with desk.gate.place():
        require_letters(request.texts, desk.settings.letters)
        desk.searcher.require_text(request.texts)
        pixels = await _pixels(desk, request.images)
        vectors = await desk.batcher(Encoding(tuple(request.texts), pixels))
    encoder = desk.searcher.encoder
    return Embeddings(embeddings=vectors, model=encoder.name, fingerprint=encoder.fingerprint())


@router.post("/explain")
async def explain(request: ExplainRequest, desk: CurrentState) -> ExplainResponse:
    """Where in a picture, and by which words, the model sees that texts fit."""
    deadline = time.monotonic() + desk.settings.seconds
    with desk.gate.place():
        require_letters(request.texts, desk.settings.letters)
        desk.searcher.require_text(request.texts)
        texts = _words(desk, request.texts) if request.by_word else request.texts
        distinct = list(dict.fromkeys(texts))
        if not distinct or len(distinct) > _WORDS:
            raise RequestError(
                422, f"{len(distinct)} texts or words are to be explained.", f"Ask for 1 to {_WORDS} at a time."
            )
        picture = await desk.readers(requested_picture, desk, request)
        parts = await desk.model(desk.explained, picture, distinct, deadline)
        maps = await desk.readers(_maps, texts, dict(zip(distinct, parts, strict=True)), request.by_word)
    return ExplainResponse(maps=maps)


@router.post("/ground", responses={501: {"model": Failure, "description": "No model here can."}})
async def ground(request: GroundRequest, desk: CurrentState) -> GroundResponse:
    """Points at what words mean, where the model can."""
    with desk.gate.place():
        require_letters([request.text], desk.settings.letters)
        desk.require_grounder()
        picture = await desk.readers(requested_picture, desk, request)
        found = await desk.model(desk.grounded, picture, request.text, request.count)
        overlay = await desk.readers(_drawn, found) if request.overlay else ""
    boxes = [
        Pointed(
            box=(row["x0"], row["y0"], row["x1"], row["y1"]),
            score=row["score"],
            phrase=row["phrase"],
            source=row["source"],
            label=row["label"],
        )
        for row in found.rows()
    ]
    return GroundResponse(text=request.text, boxes=boxes, note="; ".join(map(str, found.missing)), overlay=overlay)


def _reranks(desk: ServerState, request: SearchRequest) -> bool:
    """Whether results of this page are among those that are scored again.

    Raises:
        RequestError: the server has no run for it, or the query is not words alone.
    """
    if not request.rerank:
        return False
    if desk.pairs is None:
        raise RequestError(422, "No run was named that scores pairs.", "Start the server with --rerank RUN.")
    if not request.texts or request.images or request.minus_texts or request.minus_images or request.like is not None:
        raise RequestError(
            422, "Pairs are scored of a picture and a text, and the query is not words alone.", "Send texts."
        )
    if request.sort:
        raise RequestError(422, "Results are either sorted by a column or scored again.", "Leave out one of the two.")
    return request.offset < RERANKED


def _require_like_alone(request: SearchRequest) -> None:
    """Refuses to compare anything but a picture of the index in a respect.

    Raises:
        RequestError: the query is something else, or more.
    """
    more = (*request.texts, *request.minus_texts, *request.images, *request.minus_images, request.says, request.sort)
    if request.about and (request.like is None or any(more) or request.min_relevance):
        raise RequestError(
            422,
            "In a respect, pictures are compared with one of the index alone.",
            "Send `like`, `about` and conditions.",
        )


def _alike(desk: ServerState, request: SearchRequest, row: int) -> SearchResults:
    index = desk.index()
    desk.item(row)
    return desk.respects(index, row, request.about, request.where, (request.offset, request.k))


def _in_language(desk: ServerState, request: SearchRequest, asked: SearchJob) -> QueryInLanguage:
    """The query, whose texts are in another language than the model's.

    Raises:
        DeixisError: the language can't be read here, or the texts can't.
    """
    assert asked.query is not None
    if request.language not in desk.languages.names:
        there = ", ".join(desk.languages.names) or "none"
        raise RequestError(
            422,
            f"No dictionary of {request.language!r} was fetched; there are: {there}.",
            f"Run `deixis data get language-{request.language}` and start anew, or leave the language out.",
        )
    read = desk.languages(asked.query, request.language, in_english=request.rerank)
    if read.reader is not None and request.min_relevance:
        raise RequestError(
            422, "Probabilities are measured for texts that the model itself reads.", "Leave out the least relevance."
        )
    return read


def _reranked(desk: ServerState, texts: Sequence[str], answer: SearchResults) -> Reranked:
    assert desk.pairs is not None
    return desk.pairs.rerank(answer, " ".join(texts), time.monotonic() + desk.settings.seconds)


def _known(desk: ServerState, request: SearchRequest) -> list[int | None]:
    """For each picture that was sent, the first row of the index that holds the same file."""
    if request.digests and len(request.digests) != len(request.images):
        raise RequestError(
            422, f"{len(request.digests)} digests were sent for {len(request.images)} images.", "Send one for each."
        )
    digests = request.digests or [
        hashlib.sha256(picture_bytes(each, desk.pixels)).hexdigest() for each in request.images
    ]
    rows = (desk.index().rows_of(digest) for digest in digests)
    return [each[0] if each else None for each in rows]


def _listed(desk: ServerState, row: int) -> ListedItem:
    return listed_items(desk.pictures, [(row, desk.item(row), None, None)])[0]


def _asked(request: SearchRequest, like: int | None, left_out: frozenset[int]) -> SearchJob:
    """The search; a row counts as the first picture."""
    images = len(request.images) + (like is not None)
    query = None
    if images or request.texts or request.minus_texts or request.minus_images:
        if request.offset + request.k > _DEEPEST:
            raise RequestError(422, f"A search lists its first {_DEEPEST:,} answers.", "Make the query more specific.")
        query = Query(
            texts=tuple(request.texts),
            images=(_STAND_IN,) * images,
            minus_texts=tuple(request.minus_texts),
            minus_images=(_STAND_IN,) * len(request.minus_images),
            mix=request.mix,
        )
    return SearchJob(
        query,
        like,
        request.k,
        request.offset,
        tuple(request.where),
        request.min_relevance,
        left_out,
        request.sort,
        request.descending,
        request.says.strip(),
    )


async def _pixels(desk: ServerState, sent: Sequence[str]) -> Float[Tensor, "m 3 H W"] | None:
    """Pictures that were sent, decoded one by one, so that one large one at a time is in memory for each thread."""
    parts = [await desk.readers(_read, desk, each) for each in sent]
    return torch.cat(parts) if parts else None


def _read(desk: ServerState, sent: str) -> Float[Tensor, "1 3 H W"]:
    return desk.searcher.encoder.preprocess.read([picture_bytes(sent, desk.pixels)], threads=1)


def requested_picture(desk: ServerState, request: ExplainRequest | GroundRequest | SegmentRequest) -> Image.Image:
    """The picture that a request speaks of: of the index, or sent along.

    Raises:
        RequestError: neither is given or both, or the picture is not there.
        ImageError: it can't be read.
    """
    if (request.row is None) == (request.image is None):
        raise RequestError(422, "A request is about either a row or an image.", "Send one of the two.")
    if request.image is not None:
        return open_image(picture_bytes(request.image, desk.pixels), max_pixels=desk.pixels)
    item = desk.item(request.row or 0)
    return open_image(located(str(item["path"])), max_pixels=ANY_SIZE)


def _words(desk: ServerState, texts: Sequence[str]) -> list[str]:
    """The words of texts, as the model's tokenizer finds them."""
    encoder = desk.searcher.encoder
    places = ((text, encoder.tokenizer.words(text, encoder.context_length)) for text in texts)
    return [text[start:stop] for text, found in places for start, stop, *_ in found]


def _maps(texts: Sequence[str], parts: Mapping[str, Explanation], by_word: bool) -> list[Map]:
    maps = []
    for text in texts:
        part = parts[text]
        overlay = part.overlay(0, 0)
        overlay.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        words = [] if by_word or not part.words else [(each.word, float(each.share)) for each in part.words[0][0]]
        blind = bool(part.text_blind and part.text_blind[0][0])
        score = float(part.scores[0, 0])
        said = "" if by_word else part.sentence()
        address = data_address(overlay)
        maps.append(Map(text=text, score=score, overlay=address, words=words, sentence=said, text_blind=blind))
    return maps


def _drawn(found: Detections) -> str:
    overlay = found.overlay()
    overlay.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return data_address(overlay)


def data_address(picture: Image.Image) -> str:
    """A picture as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png(picture)).decode('ascii')}"


def _number(score: float) -> float | None:
    return None if math.isnan(score) else score
