"""Why a race is lost where it is, as far as that was measured: a paragraph or several each, by the race's name.

The figures are not of the race's rows: they tell where the time or the memory goes, and where they were measured.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["RACES"]

RACES: Mapping[str, str] = {
    "search_exact": (
        "**500 queries.** What is compared are answers; ours are scored again in float64, such that they do not depend "
        "on the order in which a product sums, and faiss's are the product's. With one thread and 20,000 rows the "
        "product of OpenBLAS took 0.12 s of processor and all else 0.085 s, most of it for rows that are near the best "
        "for a while; all else takes 0.045 s since fewer of them are scored again, after the rows of 2026-12-01. It is "
        "done by one thread. Codes of 8 bits are widened before they are multiplied, which took two thirds longer than "
        "float32 (`src/deixis/indexing/products/codes.py`): they are meant for single queries and for memory.\n\n"
        "**One query, float16.** Of 60,000 rows, with one thread, widening in memory first took 17 ms, the product of "
        "oneDNN that widens in registers 10 ms, faiss's 9 ms, and reading the halves alone 7.6 ms "
        "(`src/deixis/indexing/products/halves.py`). Rows of 2026-11-25 are of the first way, and so are those of "
        "2026-12-03: that machine's processor has no arithmetic of float16, without which torch does not call it.\n\n"
        "**Memory.** Beyond the vectors, 500 queries take some 12 MB whatever the size of the index: a block of scores "
        "4 MB, what BLAS packs for it 7 MB, and the queries (`src/deixis/indexing/exact.py`).\n\n"
        "usearch does not look at every vector; the case says which share of the answers it finds."
    ),
    "contrastive_loss": (
        "A tile of the matrix is made twice, there and on the way back, so that no matrix is held: four products where "
        "`torch` has three. At N = 4,096 each took 0.09 to 0.11 s with both threads (2026-12-03), and the difference "
        "of the rows is 0.08 s. Why ours is behind where one core is busy was not measured. Rows of 2026-11-25 are of "
        "another processor, on which it was ahead of `torch` at this size."
    ),
    "check": (
        "`read and hashed` finds equal bytes and nothing else, and `decoded` looks at no picture beside another. Of "
        "the time for a picture under a profiler (3,000 of them, one thread, 2026-12-04), 37 % was the perceptual "
        "hash by which look-alikes are found, 35 % Pillow's reading of the header, once for its facts and once to "
        "decode, 6 % reducing the picture, 6 % reading and hashing its bytes, and 4 % decoding. Comparing all with "
        "all grows with the square: 100,000 files take more than ten times 10,000."
    ),
    "import_index": (
        "Of 1.8 s for 100,000 vectors under a profiler (2026-12-03) 0.5 were for reading lines of JSON, 0.5 for making "
        "them and 0.45 for writing bytes, which faiss's side does as well; 0.1 for the hashes by which a damaged file "
        "is told later, and 0.1 for bringing vectors to length 1, which it does without."
    ),
    "shards": (
        "Where a run goes on, ours reads the index beside each shard, whose length grows with the samples. A "
        "permutation over a folder's files needs nothing but their names. Up to 2026-11-25 the json of each sample was "
        "read from the tar."
    ),
    "embed_folder": (
        "Beside the tower alone, `limit`, what is missing is reading and decoding on the same two cores. "
        "The lost rows are of the image tower in torch, and `onnx` and `int8` are our own graphs: onnxruntime embeds "
        "1.1 to 1.7 times faster, and `index` has used it since (see [searching.md](searching.md)). `adapt` stays with "
        "torch, and so do pictures that torch has embedded before. The 8 bits give other embeddings, by the cosine in "
        "the row's case; nobody but `export --int8` uses them."
    ),
    "prompt_epoch": (
        "The first optimiser of a process imports torch's compiler, 74 MB. In the rows of 10 classes up to 2026-11-30 "
        "the plain sides had made theirs before memory was measured, and ours made it in the step that is measured; "
        "the race now has both make it before. In rows of memory up to 2026-12-03 06:30 `plain with tricks` had run "
        "the image tower before it was measured, and its step was made of what that had freed; now no side has."
    ),
    "explain": (
        "`torch` is a hook and one gradient written out for one network. What ours does beside, and which share of the "
        "loss each part has, was not measured."
    ),
    "train_step": (
        "Towers and arithmetic of `torch` are ours; what is lost to it, some hundredths, is the engine's step. The "
        "norm of all gradients, which the plain loop does without, took 0.024 s of the 2.4 to 2.9 s of a step of the "
        "larger model (2026-12-03); what the rest goes to was not measured."
    ),
    "ground": (
        "Both sides call the same network. Of some 300 ms of the processor a picture 160 are for the crops, 90 for the "
        "detector and 20 for its peaks and features; the loop's decoding takes 20 and ours 35, of which 15 are for the "
        "size to be shown, which the loop does not keep (`bench/ground.py`)."
    ),
    "freed_memory": (
        "What the time is bought with: memory that torch frees is kept for its next tensors, so that the process holds "
        "more."
    ),
    "ssl_step": (
        "PixPro's rows up to 2026-12-02 are of two passes of the tower, one a crop. Where batch norms keep their "
        "statistics, as in the race, both crops go through together since, in a tenth less of the processor's time, as "
        "in the peer. What the peer does without, the gauges of a step and its check of positive pairs, takes 2 ms of "
        "some 150; channels last made no difference that could be told from noise."
    ),
    "augment": (
        "Three times torchvision was wanted. Rows up to 2026-12-02 01:58 are older than planes in place of channels "
        "last, blurs as products of matrices, and hues without `where`, all with equal values. Of 8 to 10 ms of the "
        "processor that torchvision takes for a view of 224 px, 3 are for hues, 3.5 for blurs, though one view in five "
        "has one (at 160 px they are six tenths of all), and 1 for Pillow's resizing, which is the same on both "
        "sides. Ours takes 4.5: 1.6 to cut out and resize, 1.4 for hues, 1 for other colours, 0.2 for blurs. A third "
        "of torchvision's would leave 1.4 for all that comes behind the resizing. Numbers of 16 bits might do that in "
        "place of floats; they would round otherwise, in rows of claims too."
    ),
    "caption_step": (
        "Where no sentence repeats there is nothing to save. Why ours is slower there than one flat batch was not "
        "measured."
    ),
}
"""Race -> Markdown."""
