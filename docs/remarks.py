"""What there is to say of claims that were not shown, or not against every rival: a paragraph each, without numbers,
which stand in the rows."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["BUILT_ON", "REMARKS", "VECTORS"]

REMARKS: Mapping[tuple[str, str], str] = {
    (
        "cmim",
        "The contrastive term makes codes from which a linear classifier tells kinds better, at equal images.",
    ): (
        "Not here: without the term, and without the prior, the codes tell kinds as well. At the paper's weight "
        "validation saw nothing of the term; the weight that it chose is far above it, and a greater one wrecks the "
        "codes. Trials of this method went to weight and temperature, those of A-MIM to its rate, so a rate chosen "
        "for the term might move it. Against InfoNCE with the same decoder the likelihood is what tells."
    ),
    (
        "projection_head",
        "Of one training in which a view lacks the garment three times in ten, a linear classifier tells garments "
        "better by the features before the head than by those behind it, which are as wide.",
    ): (
        "Features behind the head end below those of the untrained network, which makes the comparison void by the "
        "rules here, and which the paper would expect. But those before the head end no higher than they began "
        "either, and by how much hangs on the seed: so short a training, with settings that were not tuned, taught "
        "little of garments in any place. A later claim tries it again, with rates to choose from."
    ),
    (
        "projection_head",
        "At a rate chosen for each place, and a view without its garment three times in ten, a linear classifier "
        "tells garments better by the features before the head than by those behind it.",
    ): (
        "It does in every seed, by little more than what was asked. About a third of the lead is there before "
        "training: a head of random weights loses some, too. Every place was at its worst at the highest of the "
        "first four rates, which was that of the earlier claim. A tower trained without a head is behind in every "
        "seed, too, but by less than was asked. Neither the pixels themselves nor the principal directions of the "
        "features were tried as a rival."
    ),
    (
        "projection_head",
        "The features before the head gain more over those behind it where a view lacks the garment six times in ten "
        "than where it never does.",
    ): ("They do in four of five seeds; in the other one they gain less. The rate was not tuned."),
    (
        "projection_head",
        "Trained by SupCon on four groups of garments, a linear classifier tells ten kinds better before the head.",
    ): (
        "It does in every seed; the untrained network's places differ by a small part of that. Both places are of "
        "the same trainings, at one rate, which was not tuned; a tower without a head was not tried here."
    ),
    (
        "projection_head",
        "Trained by cross-entropy on four groups of garments, a linear classifier tells ten kinds better before the "
        "head.",
    ): (
        "It does in every seed, as after SupCon and by less. Both places are of the same trainings, at one rate, which "
        "was not tuned; a tower without a head was not tried here."
    ),
    (
        "selfie",
        "A tower that learned to put patches into their places names garments by 20 labels of each kind better than "
        "one that learned from the labels alone, and than one that learned to give the patches' pixels.",
    ): (
        "After one pass over the pictures, fine-tuning a tower of either task without labels ends where fine-tuning "
        "the untrained one does: neither taught it anything of use, and the comparison with pixels says nothing. "
        "Labels alone, trained for as long before the same fine-tuning, are ahead of both. More passes were not "
        "tried."
    ),
    (
        "selfie",
        "Patches that are given with their places teach a tower more than patches whose places are not known.",
    ): (
        "With places the tower ends no higher than the untrained one that is fine-tuned the same way, without them "
        "hardly higher: after one pass over the pictures this says little of places."
    ),
    (
        "srmap",
        "What stands out in the relevance covers the thing asked for better than the relevance itself, blurred or not.",
    ): (
        "The second step is better than none, and a Gaussian blur, which the paper did not try, is better still. Its "
        "one width may fit the size of the things, and the step's patches may favour rims over the inside; neither "
        "was tested. What the step adds to a blur did not show here."
    ),
    (
        "normgrad",
        "It is the norm that does so, not that the gradient is left unaveraged.",
    ): (
        "Before the last block most of the gain over Grad-CAM is had by leaving the gradient unaveraged. Where "
        "activations are not negative, the sum of the summands and their norm place the maximum alike unless "
        "summands cancel; how often they do in this network was not counted."
    ),
    (
        "normgrad",
        "At the third of four layers, the norm of the summands points at the thing asked for better than Grad-CAM "
        "does.",
    ): (
        "It is the other way round: at this layer Grad-CAM is ahead. What the first claim says of layers before the "
        "last holds for the first half of them, see the claim about these."
    ),
    (
        "normgrad",
        "Maps of several layers combined point better than that of the single layer that is best for each network.",
    ): (
        "Where the best layer is chosen for each network on scenes of its own, the layers together point no better; "
        "the gain of the earlier claim was over one layer for all networks."
    ),
    (
        "coop",
        "From few labelled images of each class on, learned prompts are ahead of hand-written ones and of a linear "
        "probe.",
    ): (
        "Learned prompts are ahead of hand-written ones from the first image on. With one image the linear probe is "
        "level with them, and ahead from two on. The paper's CLIP was trained on images and texts together, "
        "the starter's towers were not; whether that is the cause was not tested."
    ),
    (
        "pre",
        "With vectors that pass through a small recurrent network, prompts that were learned on some classes tell "
        "other classes apart better than CoOp's.",
    ): (
        "Which half of the classes is new decides more than the method does, so that five draws could not have shown "
        "an effect of the required size; the estimate is on CoOp's side. Both arms start from the same words and "
        "take equally many epochs; how many the paper's CoOp had is unknown."
    ),
    (
        "pre",
        "Over 20 draws whose halves are exchanged, prompts that pass through a small recurrent network tell classes "
        "apart that were not learned better than CoOp's.",
    ): (
        "With exchanged halves the interval is narrower. It excludes neither a gain of the required size nor a loss of "
        "nearly as much."
    ),
    (
        "clip",
        "Telling which caption goes with an image learns what things are called from fewer images than predicting the "
        "caption, or its words, does.",
    ): (
        "At the end of the budget contrast knows more names than either rival on average, and yet the number of images "
        "that it saves could not be determined: it differs from seed to seed, and one seed alone ran ahead."
    ),
    (
        "align",
        "Four times as many pairs, half of them with a wrong caption, train a better model than clean pairs do, and "
        "than as few noisy ones do.",
    ): (
        "Against as few noisy pairs there is no question. Against the clean ones the many noisy ones end ahead in "
        "every seed, by about the required effect, which the interval therefore can't distinguish from less. With "
        "eight times as many, below, there is no question against clean pairs either."
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
        "Nobody learned it: with one seed or more, each arm ends within what guessing gives, so that the arms can't be "
        "compared. The paper's own examples are of single things and their parts."
    ),
    (
        "plip",
        "Captions find people who were never seen more often where all pictures and captions of one person belong "
        "together in training than where pairs do.",
    ): (
        "In batches that hold four pictures of each person, identities are ahead of pairs in every seed, by about the "
        "required effect. Pairs in random batches are level with them, and so is InfoNCE with equal shares for one "
        "identity, which changes one line: the contrast of identities itself brought nothing here that these do not."
    ),
    (
        "mdetr",
        "Words that meet the image in encoder and decoder find what a relation singles out among things of one noun.",
    ): (
        "With one seed the multiplied words learned nothing and ended below where they began; in the other four "
        "they are behind as well. A rule that reads the relation from the phrase and compares places of boxes, as "
        "`detect_match` has one, was not among the rivals."
    ),
    (
        "mdetr",
        "Words that meet the image in encoder and decoder find what a noun, a colour or a place names.",
    ): (
        "Where no relation has to be read, a dot product is enough: it is ahead, at equal seconds as well. "
        "What words in the loop buy stands in the first claim alone. Words multiplied find one phrase in four."
    ),
    (
        "mdetr",
        "Soft tokens and alignment together find more than either alone.",
    ): (
        "Both are ahead of soft tokens, and far behind alignment alone, whose phrases are scored by a cosine. With so "
        "few images a query learns sooner which phrase it is like than which of all tokens it means. The rates of both "
        "and of soft tokens were still at the edge. Alignment alone was not tried in the first two claims."
    ),
    (
        "mdetr",
        "A decoder that starts from a detector's boxes finds more than one that learns its queries.",
    ): (
        "Learned queries find one phrase in a hundred, as before training: a rival that learned nothing. So this says "
        "that they need more images than this budget has, and nothing of which way is better once they have them."
    ),
    (
        "verbalise",
        "The words that the search quotes hold more of the score than as many first words, and than runs of the same "
        "lengths elsewhere.",
    ): (
        "The search looks for exactly this, and its rivals do not look: that it finds it says that the search works, "
        "not that people understand the sentence better, which the paper asked."
    ),
    (
        "verbalise",
        "The search for single words quotes more of the score than a small language model whose words are taken where "
        "they hold.",
    ): (
        "The two are equal in every seed: where the check does not pass what the small model says, "
        "the search's own words stand, and the model never quoted more or less than these."
    ),
    (
        "imaginator",
        "Of a picture's tags one that is held back is found by company and looks together more often than by either, "
        "by the tags of the nearest pictures, or by plain counts.",
    ): (
        "Together they find more than either alone, as the paper says; and the tags of the nearest pictures, which "
        "need no training, find more than all of them. `deixis words` therefore takes these where they are ahead."
    ),
    (
        "imaginator",
        "Where a tag was never seen beside the picture's others, looks help company to find it.",
    ): (
        "They do not: company is at chance there, as it must be, and the joint vectors stay at chance with it, "
        "while looks alone and the nearest pictures find some."
    ),
    (
        "seer",
        "It is what the pictures hold and not how many there are: as few uncurated pictures as curated ones do better.",
    ): (
        "As few unchosen pictures end level with eleven times as many, so that number matters little here; they are "
        "behind chosen ones in every seed. What chosen pictures hold is worth at least as much."
    ),
    (
        "seer",
        "Uncurated pictures in the styles of the test help more than those in other styles.",
    ): (
        "The reverse: where a part of the pictures is blurred, sketched or of low contrast, fewer are clean, "
        "and the tower learns less from the same number of images."
    ),
    (
        "seer",
        "In the style that it knows least, too, a tower trained on uncurated pictures is ahead.",
    ): (
        "It is behind the tower of chosen pictures without labels, and level with the one of their labels, whose "
        "seeds differ widely."
    ),
    (
        "seer",
        "Trained on pictures that nobody chose or labelled, a tower knows things in styles that it never saw better "
        "than one that was trained on labels of chosen pictures, or without labels on the chosen pictures.",
    ): (
        "Not at this scale. At the end of the budget all three know twice as much of the four unseen styles as the "
        "untrained tower; the chosen pictures teach a little more than eleven times as many unchosen ones. The paper "
        "has a billion pictures and ten billion weights, and no tower as small as this."
    ),
    (
        "pixpro",
        "Cells that are trained to look like the same place in another crop tell a linear classifier more of what is "
        "where than whole crops that are trained to look alike.",
    ): (
        "Both ways gain the same little over the untrained tower: at the end of the budget neither tells much of what "
        "is where, so that there is little in which they could differ."
    ),
    (
        "pixpro",
        "It takes the propagation: cells behind a small network in its place, cells with negatives, labels of whole "
        "scenes, and the colours of cells tell less.",
    ): (
        "It is the other way round. Cells with negatives tell most, more than labels of whole scenes teach; of cells "
        "that are only pulled together those behind a small network tell more than those behind the propagation. "
        "Colours alone tell nothing."
    ),
    (
        "pixpro",
        "Of which things are in a scene, whole crops tell more.",
    ): "Neither tells more of that than the untrained tower does, so that nothing can be said.",
    (
        "pixpro",
        "A detector on frozen cells finds more where cells were trained to look like the same place in another crop "
        "than where whole crops were trained to look alike.",
    ): (
        "Both ways gain next to nothing for the detector over the untrained tower, so that whole crops are no rival "
        "to be measured by. Cells with negatives do gain: with them the detector finds more than twice as much."
    ),
    (
        "variational_context",
        "A context that each candidate chooses finds what an expression means better than no context, than one context "
        "for all candidates, and than the scores of all pairs.",
    ): (
        "A context helps: with its own each candidate is told apart better than with none. One context that all "
        "candidates share does as well, and so do the chances of all pairs, added. That it is better than the best "
        "pair alone is likely and not proven."
    ),
    (
        "variational_context",
        "It does so for existential expressions alone.",
    ): "As with all: a context helps, and one that all candidates share, or the chances of all pairs, help as much.",
    (
        "variational_context",
        "It does so among a detector's regions of unseen stamps.",
    ): "A context helps much. Whether its own or the chances of all pairs help more can't be told.",
    (
        "selfpatch",
        "A tower that DINO trained tells a linear classifier more of what is where after it learned, patch by patch, "
        "what the teacher says of the most similar neighbours, than after as many more images of DINO, after each "
        "patch learned what the teacher says of itself, or of all neighbours.",
    ): (
        "No arm moves away from the trunk on which all stand: so few steps teach nothing that a linear classifier of "
        "cells sees, so that neighbours can't be told apart by it. A longer trial is among the claims."
    ),
    (
        "sentence_attention",
        "A gate made of the sentence alone shows where an answer lies better than a scale and a shift of as many "
        "weights, a squeeze gate of image and sentence, the sentence beside each cell, and no sentence.",
    ): (
        "It is the other way round: a scale and a shift made of the same sentence show it best, and the other two ways "
        "to bring the sentence in are better than the gate, too. That the gate is better than no sentence is likely "
        "and not proven. The gate alone did best with a rate well below those "
        "of the others; whether it only learns more slowly was not tested."
    ),
    (
        "sentence_attention",
        "It does so where a colour or a size is asked of a thing.",
    ): (
        "It is the other way round: only the scale and the shift learned anything of such questions. The gate ends "
        "below where random weights begin, and so does the network without a sentence."
    ),
    (
        "sentence_attention",
        "It does so where it is asked how one thing lies to another.",
    ): (
        "A scale and a shift made of the same sentence show it better. The gate learned it, too, and ends far above "
        "the network without a sentence; since that one ends below where random weights begin, no verdict stands on "
        "it."
    ),
    (
        "sentence_attention",
        "A softmax over channels shows it better than a sigmoid of each.",
    ): "It is the other way round: with a sigmoid answers are shown better, in every seed.",
    (
        "sentence_attention",
        "Gates of all maps show it better than one of the last.",
    ): (
        "It is the other way round, in every seed. With a softmax each gate divides its map by about the number of its "
        "channels; whether gates of all maps are better with a sigmoid was not tried."
    ),
    (
        "uniter",
        "Trained with transport, the plan that carries words to regions is sharper than after training with a uniform "
        "one or with none: its entropy falls shorter of the uniform plan's.",
    ): (
        "Transport does not sharpen the plan beyond what training without it does. With a uniform plan it ends below "
        "where it began, so that it is no rival to be measured by."
    ),
    (
        "uniter",
        "Of 300 labelled expressions a pre-trained model learns more than the same start without pre-training.",
    ): (
        "Both find about as many: a gain worth having is excluded. Both begin with the word vectors of a text encoder "
        "that was trained elsewhere."
    ),
    (
        "uniter",
        "Masking one side at a time prepares better for expressions than masking both, at 15 % and, as a stress, 40 %.",
    ): "No comparison can tell. On average masking one side is ahead.",
    (
        "uniter",
        "Masking one side at a time tells more hidden nouns where the picture is complete than masking both, at 15 % "
        "and, as a stress, 40 %.",
    ): (
        "Masking one side is ahead of masking both at the same share on average, and it can't be told. The stress "
        "teaches more than the paper's share, which is why the claim as a whole is reversed."
    ),
    (
        "variational_context",
        "Encoder term and prior term both help.",
    ): "Without either it finds about as many; a small help by the prior term can't be excluded.",
    (
        "variational_context",
        "A posterior whose unary term is the context's finds more than the released one, where it cancels.",
    ): "Both forms find as many, to less than what would be worth having.",
    (
        "variational_context",
        "Trained without labels it chooses better than chance, and than drawing among those of the noun.",
    ): (
        "Without labels it ends below where random weights begin, and below chance. A rule that is told what each "
        "region shows, and draws among those of the noun, is far better, without training."
    ),
    (
        "plip",
        "Telling colours from a grey picture and masked attributes from the rest helps captions find people.",
    ): (
        "No comparison can tell; each would need more seeds. Attributes alone end where no task does, colours alone "
        "below. Either task makes a step longer, colours most, so that at equal seconds none of the arms with a task "
        "is where the one without is."
    ),
    (
        "plip",
        "Emoji of concepts that were never seen are found again in other styles more often where all drawings of one "
        "concept belong together in training than where each belongs to its name alone.",
    ): (
        "It is the other way round: pairs in random batches find most, then pairs and equal shares in batches that "
        "hold several drawings of a concept, and CMPM in such batches least. With people, too, pairs fared better in "
        "random batches; there the contrast of identities made up for that, and here it did not."
    ),
    (
        "dreamlip",
        "Several sentences of a long text compared in one step train a better model than the text as a whole, than one "
        "sentence a step, and than a short caption.",
    ): (
        "With the images that a desk can show, the whole text alone taught anything by ordinary captions: four "
        "sentences, one, and the raw caption ended within chance or near it. The whole text is also the only arm that "
        "reads every sentence in each step. Whether sentences catch up with more images was not tried."
    ),
    (
        "dreamlip",
        "On pictures of several clothes, several sentences of a long text compared in one step train a better model "
        "than the text as a whole, than one sentence a step, and than a short caption.",
    ): (
        "Sentences teach far more than the short caption, which names one thing and is wrong for some; it ended within "
        "chance, so that no verdict stands on it. Four sentences a step do no more than one, at twice the seconds: at "
        "equal seconds they are behind. The text as a whole is ahead on average; captions to be found by name all "
        "things, as it does. Its rate was still at the edge of those tried."
    ),
    (
        "dreamlip",
        "With each sentence compared with its own patches, a patch is more similar to the name of what it shows.",
    ): (
        "Within this budget nobody learned what a patch shows: arms end below where random weights begin. So nothing "
        "is said of the grouping loss there; for captions that are to find their pictures it changed nothing."
    ),
    (
        "perceptual_init",
        "Proxy votes on what looks alike, learned before the pairs, give a better model than shuffled votes or pixel "
        "votes do, and than the pairs alone.",
    ): (
        "What the frozen starter finds alike is worth more than the same votes dealt out at random. But spending all "
        "images on pairs is better than any votes first, and over as many pairs without votes the gain was too small "
        "to tell. The paper's people could not be asked: a network's votes hand on at most what ImageNet taught it. "
        "The triplets are one set for all seeds. On generated scenes, an earlier try, nobody learned the names."
    ),
    (
        "perceptual_init",
        "Proxy votes on what looks alike do more before the pairs than after them.",
    ): (
        "Votes that come last leave the image tower without its names: it ends where guessing does. That is no rival "
        "that lost, but one that forgot, and the rules of this page call it void."
    ),
    (
        "gist",
        "Tuned on pairs of images and the texts of their class that match them, embeddings make a better linear "
        "classifier from 4 images a class than tuned on class names, on random texts of the class, on the mean of its "
        "texts or on labels, and than without tuning.",
    ): (
        "All that was tuned is ahead of what was not, and random texts of the class do as well as matched ones: where "
        "the gain is from tuning, whom a text is matched with adds none that can be told. The least rate that was "
        "tried was the best for every arm."
    ),
    (
        "gist",
        "The same of the starter, whose towers never met in training: matched texts tune embeddings for a linear "
        "classifier better than names, random texts, mean texts, labels or no tuning.",
    ): (
        "Tuning gains several times as much here as on a model whose towers were trained together. Matched texts are "
        "first by a margin that more seeds would have to settle."
    ),
    (
        "cones",
        "With 16 labelled images of each class, vectors behind the text tower tell classes apart better than vectors "
        "in front of it.",
    ): (
        "CoOp's vectors are shared by all classes, and here each class has its own: whether the place gains is asked "
        "by the claim on vectors of each class in front of the tower. ConES takes a fraction of CoOp's seconds. A "
        "penalised linear correction of the names' scores, which reads the features before the projection as well, is "
        "ahead of both. The offset takes the same steps as the table, and ends where it does."
    ),
    ("cones", "The same of a model whose towers never met in training: the starter."): (
        "As on the other model: ahead of CoOp by as much, and further behind the correction that reads the features "
        "before the projection, too."
    ),
    (
        "cones",
        "With 16 labelled images of each class, a vector of each class behind the text tower tells classes apart "
        "better than vectors of each class in front of it, and than names alone.",
    ): (
        "The place gains, though by less than half of what ConES is ahead of CoOp, whose vectors all classes share: "
        "the rest is that each class has its own."
    ),
    (
        "cones",
        "Marked in four scenes each, concepts of nouns that were in no training are pointed at in further scenes more "
        "often by vectors behind the text tower than by vectors in front of it, by their names, and by the mean of the "
        "marked cells.",
    ): (
        "The mean leans on the names by a share that validation chose, the largest that was tried. A linear classifier "
        "of cells, the near relation that is ahead on whole images, is not among the rivals."
    ),
    (
        "cones",
        "What is added to a frozen start points at marked concepts less often than the start itself that is trained.",
    ): "The tie that was expected: both take the same steps.",
}
"""(paper, statement) -> the paragraph."""

VECTORS: Mapping[str, str] = {
    "align": "a loop written from the equations",
    "cgvlm": "a loop written from the equations",
    "clip": "the authors' code",
    "close": "a loop written from the equations, in the order of the authors' code",
    "coop": "the authors' code",
    "denseclip": "the authors' code",
    "dito": "a loop written from the equations",
    "dptr": "PARSeq's code; of its own two parts, at best a transcription of the authors'",
    "dreamlip": "a loop written from the equations",
    "fairness_indicators": "the authors' code",
    "cmim": "the authors' code for molecules, KERMT",
    "cones": "a loop written from the equations of a reconstruction",
    "filip": "a loop written from the equations",
    "gpt4image": "the authors' code",
    "focallens": "a loop written from the equations",
    "gist": "a loop written from the equations of the authors' scripts",
    "imaginator": "a loop written from the equations",
    "kalm": "a loop written from the equations, checked by what the authors' earlier code gives",
    "kapt": "a loop written from the equations of a reconstruction",
    "mdetr": "the authors' code",
    "mutual_prompt": "a loop written from the equations of a reconstruction",
    "normgrad": "the authors' code",
    "ovdiff": "the authors' code; of its scores, at best a transcription",
    "perceptual_init": "the authors' code",
    "pixpro": "the authors' code",
    "plip": "the authors' code",
    "pre": "the authors' code",
    "prior": "a loop written from the equations",
    "projection_head": "the authors' experiments; of the spectral loss, its formula",
    "seer": "the authors' code",
    "selfie": "a loop written from the equations",
    "selfpatch": "the authors' code",
    "sentence_attention": "the authors' code",
    "srmap": "a loop written from the equations",
    "uniter": "the authors' code",
    "variational_context": "a loop written from the equations",
    "verbalise": "a loop written from the equations",
}
"""Paper -> what its golden numbers were computed with, as the descriptions beside them say (`tests/golden/*.md`)."""

BUILT_ON: Mapping[str, str] = {
    "ctp": "mutual_prompt",
    "dreamsim": "perceptual_init",
    "projhead": "projection_head",
    "sab": "sentence_attention",
    "seer": "fairness_indicators",
    "smv": "verbalise",
    "swav": "seer",
}
"""First word of golden files that bear another paper's name -> the method whose they are."""
