"""Routes about parts of a picture: the class of each pixel, and the box that each word of a text means."""

from __future__ import annotations

from fastapi import APIRouter

from deixis.apps.serve.errors import RequestError
from deixis.apps.serve.limits import require_letters
from deixis.apps.serve.models.segmenter import class_colour, colour_layer, segmented
from deixis.apps.serve.pictures import located
from deixis.apps.serve.routes.model_routes import data_address, requested_picture
from deixis.apps.serve.schemas import (
    AlignedWord,
    AlignRequest,
    AlignResponse,
    Failure,
    SegmentedClass,
    SegmentRequest,
    SegmentResponse,
)
from deixis.apps.serve.server_state import CurrentState
from deixis.types import Segments

__all__ = ["router"]

router = APIRouter()


@router.post("/segment", responses={501: {"model": Failure, "description": "No model here can."}})
async def segment(request: SegmentRequest, desk: CurrentState) -> SegmentResponse:
    """Tells pixels apart by classes of any name, where the models for it are there."""
    with desk.gate.place():
        require_letters(request.classes, desk.settings.letters)
        if desk.segmenter is None:
            raise RequestError(
                501,
                "No model here can segment.",
                "Get the detector, `deixis data get detector`, and start anew.",
            )
        picture = await desk.readers(requested_picture, desk, request)
        found = await desk.model(segmented, desk.segmenter, picture, request.classes, desk.searcher)
        return await desk.readers(_response, found)


@router.post("/align")
async def align(request: AlignRequest, desk: CurrentState) -> AlignResponse:
    """Says which box each word means, where a run that can was named."""
    with desk.gate.place():
        require_letters([request.text], desk.settings.letters)
        if desk.pairs is None:
            raise RequestError(
                422, "No run was named that aligns words with boxes.", "Start the server with --rerank RUN."
            )
        item = await desk.readers(desk.item, request.row)
        picture = located(str(item["path"]))
        words = await desk.model(desk.pairs.align, picture, request.text)
    return AlignResponse(
        words=[AlignedWord(word=each.word, box=each.box, score=each.score, share=each.share) for each in words]
    )


def _response(found: Segments) -> SegmentResponse:
    shares = found.shares()
    classes = [
        SegmentedClass(
            name=name, share=shares.get(name, 0.0), colour="#" + "".join(f"{part:02x}" for part in class_colour(number))
        )
        for number, name in enumerate(found.names)
        if number
    ]
    return SegmentResponse(classes=classes, notes=list(found.notes), layer=data_address(colour_layer(found)))
