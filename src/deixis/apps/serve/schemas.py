"""What clients send and get, as /openapi.json tells it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from deixis.apps.serve.limits import CLASSES, IMAGES, MOST, TEXTS

__all__ = [
    "AlignRequest",
    "AlignResponse",
    "AlignedWord",
    "EmbedRequest",
    "Embeddings",
    "ExplainRequest",
    "ExplainResponse",
    "Failure",
    "Folder",
    "GroundRequest",
    "GroundResponse",
    "Health",
    "Item",
    "Job",
    "JobNumber",
    "ListedItem",
    "Map",
    "Pointed",
    "Problem",
    "RequestBody",
    "Reranking",
    "RunInfo",
    "SearchRequest",
    "SearchResult",
    "SegmentRequest",
    "SegmentResponse",
    "SegmentedClass",
]

_ROWS = 2**31 - 1
_PICTURE = "A picture's file in base64, or as a data address (data:image/png;base64,...)."

Text = Annotated[str, Field(examples=["a red bird"])]
Picture = Annotated[str, Field(description=_PICTURE)]
Id = Annotated[str, Field(max_length=4096, description="The id of something in the index.")]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Column = Annotated[str, Field(max_length=500)]
Row = Annotated[int, Field(ge=0, le=_ROWS, description="A row of the index, as returned by a search.")]
Condition = Annotated[str, Field(max_length=500, examples=["label=bird"])]


class RequestBody(BaseModel):
    """What a client may send: nothing that is not named."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class SearchRequest(RequestBody):
    """What is looked for: words, pictures, something in the index, or several of these together."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"texts": ["a red bird"], "minus_texts": ["a cage"], "k": 20}]}
    )

    texts: list[Text] = Field(default=[], max_length=TEXTS, description="Texts; several are combined into one query.")
    minus_texts: list[Text] = Field(default=[], max_length=TEXTS, description="Words that are to be left out.")
    images: list[Picture] = Field(default=[], max_length=IMAGES)
    minus_images: list[Picture] = Field(default=[], max_length=IMAGES)
    digests: list[Digest] = Field(
        default=[],
        max_length=IMAGES,
        description="SHA-256 of the files that the images were made smaller from; one of the index is known by it.",
    )
    like: Row | Id | None = Field(default=None, description="Something in the index, in place of a picture sent.")
    mix: float = Field(default=0.5, ge=0, le=1, description="0: texts only, 1: pictures only.")
    k: int = Field(default=20, ge=1, le=MOST)
    offset: int = Field(default=0, ge=0, le=_ROWS, description="How many of the first answers are left out.")
    where: list[Condition] = Field(default=[], max_length=16, description="Conditions that all must hold.")
    min_relevance: float = Field(default=0.0, ge=0, le=1, description="Leave out what is less likely to be right.")
    columns: list[Column] = Field(default=[], max_length=16, description="Columns that come with each result.")
    sort: Column = Field(default="", description="A column that the likely results, or all pictures, are sorted by.")
    descending: bool = Field(default=False, description="Sort from high to low.")
    says: str = Field(
        default="", max_length=300, description="Words that stand in the picture; one letter may be wrong."
    )
    about: Column = Field(
        default="", description="A respect of the run, in which pictures are compared with `like` alone."
    )
    language: str = Field(
        default="", max_length=8, description="In which language the texts are, by its code; empty: as the model reads."
    )
    rerank: bool = Field(
        default=False, description="Whether the first results are scored again by the run of --rerank."
    )


class ListedItem(BaseModel):
    """Something in the index. Width and height are those of its thumbnail, `full` those of its file."""

    row: int
    id: str
    score: float | None = Field(description="Cosine similarity with the query.")
    relevance: float | None = Field(description="The probability that the result is relevant; null if not measured.")
    width: int
    height: int
    full: list[int] = Field(min_length=2, max_length=2)
    name: str
    captions: list[str]
    label: str | None
    place: str = Field(description="Path on the disk of the server.")
    columns: dict[str, Any] = Field(description="The columns that were asked for; of a single item, all.")


class Reranking(BaseModel):
    """What scoring the first results again took."""

    pairs: int = Field(description="How many results were scored again.")
    seconds: float


class SearchResult(BaseModel):
    """What was found, best first."""

    found: list[ListedItem]
    nothing: bool = Field(description="Whether nothing here matches, by what was measured on held-out searches.")
    sentence: str
    total: int = Field(description="Pictures that fit the conditions.")
    seconds: float
    like: ListedItem | None = Field(description="What `like` names.")
    known: list[ListedItem | None] = Field(description="For each of `images` the same picture in the index.")
    notes: list[str] = Field(description="What was read in the language of the texts, and by whom.")
    english: list[str] = Field(description="The texts in English, where they were read word by word.")
    reranked: Reranking | None = Field(description="How the first results were scored again; null where they were not.")


class Item(ListedItem):
    """Something in the index, with all that is known of it."""

    thumbnail: str
    image: str
    neighbours: str = Field(description="The address of what is most like it.")


class EmbedRequest(RequestBody):
    """What is to be encoded: words, pictures, or both."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"texts": ["a red bird", "a boat"]}]})

    texts: list[Text] = Field(default=[], max_length=TEXTS)
    images: list[Picture] = Field(default=[], max_length=IMAGES)


class Embeddings(BaseModel):
    """Vectors of length 1: those of the texts, then those of the pictures."""

    embeddings: list[list[float]]
    model: str
    fingerprint: str


class ExplainRequest(RequestBody):
    """A picture (of the index, or sent along), and what it is held against."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"row": 0, "texts": ["a red bird"], "by_word": True}]})

    row: Row | None = None
    image: Picture | None = None
    texts: list[Text] = Field(min_length=1, max_length=TEXTS)
    by_word: bool = Field(default=False, description="A map for each word in place of one for each text.")


class Map(BaseModel):
    """Where in the picture the model sees a text, and what part each word has in the score."""

    text: str
    score: float
    overlay: str = Field(description="The picture with the map on it: data:image/png;base64,...")
    words: list[tuple[str, float]]
    sentence: str = Field(description="The words that hold most of the score, and where the map is highest.")
    text_blind: bool = Field(description="The map is nearly that of unrelated texts: where the model looks anyway.")


class ExplainResponse(BaseModel):
    """One map for each text or word."""

    maps: list[Map]


class GroundRequest(RequestBody):
    """A picture (of the index, or sent along), and what is to be pointed at in it."""

    row: Row | None = None
    image: Picture | None = None
    text: Text
    count: int = Field(
        default=0, ge=0, le=MOST, description="Boxes a phrase at the most; 0: as many as it says: `a dog`, `two dogs`."
    )
    overlay: bool = Field(default=True, description="Whether the picture with the boxes on it is sent back, too.")


class Pointed(BaseModel):
    """A box: x0 y0 x1 y1 in shares of the picture's width and height, and how well the text fits it."""

    box: tuple[float, float, float, float]
    score: float
    phrase: str = Field(description="The part of the text that it was found for.")
    source: str = Field(description="How it was found; empty where there is one way only.")
    label: str = Field(description="What the detector calls it; empty where there is none.")


class GroundResponse(BaseModel):
    """The boxes of each phrase in turn, best first."""

    text: str
    boxes: list[Pointed]
    note: str = Field(description="What was not found, and what comes nearest; empty where all was.")
    overlay: str = Field(description="The picture with the boxes on it: data:image/png;base64,...; or empty.")


class SegmentRequest(RequestBody):
    """A picture (of the index, or sent along), and the classes of its pixels."""

    row: Row | None = None
    image: Picture | None = None
    classes: list[Text] = Field(min_length=1, max_length=CLASSES)


class SegmentedClass(BaseModel):
    """A class, which share of the picture it takes, and its colour in the layer (#rrggbb)."""

    name: str
    share: float
    colour: str


class SegmentResponse(BaseModel):
    """The classes in the order in which they were asked for."""

    classes: list[SegmentedClass]
    notes: list[str]
    layer: str = Field(description="The colours of the classes, clear elsewhere: data:image/png;base64,...")


class AlignRequest(RequestBody):
    """A picture of the index, and a text about it."""

    row: Row
    text: Text


class AlignedWord(BaseModel):
    """A word, and the box that it means most: x0 y0 x1 y1 in shares of the picture's width and height."""

    word: str
    box: tuple[float, float, float, float]
    score: float
    share: float = Field(description="Of the scores of all boxes; 1 over their number where the word means none.")


class AlignResponse(BaseModel):
    """The words of the text in order."""

    words: list[AlignedWord]


class Folder(BaseModel):
    """A folder that the owner named when the server was started."""

    id: int
    name: str
    new: int | None = Field(description="How many pictures in it are not in the index; null where not known.")


class JobNumber(BaseModel):
    """Of a job that was begun."""

    job: int


class Job(BaseModel):
    """How far a job is."""

    done: int
    total: int
    state: Literal["running", "done", "failed"]
    message: str


class RunInfo(BaseModel):
    """What is served."""

    name: str
    model: str
    count: int
    width: int = Field(description="Numbers in an embedding.")
    calibrated: bool = Field(description="Whether answers carry a relevance.")
    report: bool
    columns: dict[str, list[Any]] = Field(description="Columns that can be filtered by, each with up to 50 values.")
    fields: list[str] = Field(description="All columns, as far as a thousand.")
    shown: list[str] = Field(description="Those that suit to be shown with each result.")
    languages: str = Field(description="In which languages the model reads; empty where that is not recorded.")
    dictionaries: dict[str, str] = Field(description="Languages that queries can be in beside: code and name.")
    caveat: str = Field(description="What the chances do not tell; empty where there is nothing to say.")
    labels: str = Field(description="The name of the file that labels are written to; empty: none was named.")
    captions: str = Field(description="The name of the file of drafts that captions are written to; empty: none was.")
    words: str = Field(
        description="The name of the file that accepted tags are written to; empty: no words were named."
    )
    reads_text: bool = Field(description="Whether pictures can be searched by words; else by pictures alone.")
    can_explain: bool
    can_ground: bool
    can_segment: bool
    has_words: bool = Field(description="Whether the words that stand in pictures were read.")
    can_rerank: bool = Field(description="Whether a run was named that scores the first results again.")
    rerank_count: int = Field(description="How many results are scored again.")
    rerank_seconds: float | None = Field(description="About how long that takes; null where it is not known.")
    respects: list[str] = Field(description="In which pictures can be compared, as the run has learned.")
    can_align: bool = Field(description="Whether that run says which box a word means.")


class Health(BaseModel):
    """`ok`, or what is wrong."""

    status: str
    index: int


class Problem(BaseModel):
    """What was found, and how to mend it."""

    found: str
    cure: str


class Failure(BaseModel):
    """The form of all errors."""

    error: Problem
