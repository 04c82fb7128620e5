"""What there is to say of claims that were not shown, or not against every rival: a paragraph each, without numbers,
which stand in the rows."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["REMARKS"]

REMARKS: Mapping[tuple[str, str], str] = {
    (
        "srmap",
        "What stands out in the relevance covers the thing asked for better than the relevance itself, blurred or not.",
    ): (
        "The second step gathers relevance that lies scattered over a thing, and so is better than none. A "
        "Gaussian blur gathers it, too, and better: its one width could be fitted to the size of the things, "
        "while the step's patches compare a place with its surroundings and so favour rims over the inside. What "
        "the step adds to a blur did not show here; the paper did not try one."
    ),
    (
        "normgrad",
        "It is the norm that does so, not that the gradient is left unaveraged.",
    ): (
        "Before the last block most of the gain over Grad-CAM is had by leaving the gradient unaveraged: where "
        "activations are not negative, the sum of the summands and their norm place the maximum alike unless "
        "summands cancel, and presumably they seldom do in a network of this size."
    ),
    (
        "coop",
        "From few labelled images of each class on, learned prompts are ahead of hand-written ones and of a linear "
        "probe.",
    ): (
        "Learned prompts are ahead of hand-written ones from the first image on, and never of the linear probe. The "
        "paper's CLIP was trained on images and texts together; the starter's towers were trained separately, and its "
        "image features know more than what passes into the space shared with texts, which is all that a prompt "
        "can reach."
    ),
    (
        "pre",
        "With vectors that pass through a small recurrent network, prompts that were learned on some classes tell "
        "other classes apart better than CoOp's.",
    ): (
        "Which half of the classes is new decides more than the method does, so that five draws could not have shown "
        "an effect of the required size; the estimate is on CoOp's side. Both arms start from the same words and "
        "take equally many epochs, which the paper does not give CoOp."
    ),
    (
        "clip",
        "Telling which caption goes with an image learns what things are called from fewer images than predicting the "
        "caption, or its words, does.",
    ): (
        "At the end of the budget contrast knows more names than either rival in every seed but one, and yet the "
        "number of images that it saves could not be determined: learning what things are called begins late and at "
        "another "
        "moment in each seed, and one seed alone ran ahead of the others. The budget is what two cores do in an hour, "
        "and the curves are still rising where it ends; a larger one is what this claim needs."
    ),
    (
        "align",
        "Four times as many pairs, half of them with a wrong caption, train a better model than clean pairs do, and "
        "than as few noisy ones do.",
    ): (
        "Against as few noisy pairs there is no question. Against the clean ones the many noisy ones end ahead in "
        "every seed, by about the required effect, which the interval therefore can't distinguish from less. The "
        "curves say how it comes about: training on clean pairs is faster, and reaches nearly its final value "
        "halfway through "
        "the budget; the curves of the noisy ones are still rising at its end. With eight times as many, below, "
        "there is no "
        "question against clean pairs either."
    ),
    (
        "align",
        "A picture and words that change one thing of it find together the picture that shows the change, more often "
        "than the picture or the words do alone.",
    ): (
        "Words alone retrieve next to nothing, since they name only what changed. To the picture they add "
        "something in every seed, by an amount that five seeds can't distinguish from the required effect. The query "
        "picture is itself among the candidates, and wrong; it is excluded where the query is the picture alone, "
        "which it "
        "would always win, and so the comparison leans towards the picture."
    ),
    (
        "filip",
        "Compared token by token, scenes that nearly repeat one another are told apart better than by one vector each.",
    ): (
        "All three arms find the scene among its look-alikes about equally often. The interval is a little wider than "
        "the required effect, so that one of that size is not ruled out; the estimate is close to zero."
    ),
    (
        "filip",
        "Compared token by token, which of two things has which colour is told better than by one vector each.",
    ): (
        "Each word matches the patch most similar to it, and nothing requires two words to agree on a place: "
        "'red' finds the red thing and 'boat' the boat, whether or not the boat is red. One vector for the whole, of a "
        "text tower that has read the words together, can hold who has which colour, and holds a little of it here. "
        "The paper's own examples are of single things and their parts; that words point to their patches is shown "
        "below, by far."
    ),
}
"""(paper, statement) -> the paragraph."""
