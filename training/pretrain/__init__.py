r"""The recipe of the built-in backbone: a small ResNet that imitates a large network.

Views first, then the teacher, then the student, and every step resumes where it was cut off:

1. *views*: a few random crops of every picture, drawn once and kept as uint8 in one file;
2. *targets*: what the teacher (any timm network in the Hub's folder format) says of each
   view, centred and reduced to its first principal components;
3. *student*: a timm ResNet whose projected embedding is turned towards the target (cosine);
   where a picture carries a label, a linear classifier on the same embedding learns it too.
   The projection and the classifier are dropped afterwards.

Teacher and student see the same crop, which is what makes distillation work for long runs
(Beyer et al. 2022, "Knowledge distillation: a good teacher is patient and consistent");
mirror, small shifts, colour and erasing are added for the student alone. Without a teacher
the same recipe trains on labels only.

Objects on white are also cut out and laid over other pictures (`--set composed=N`), a share of them on a small crop
from a picture's rim, as on a floor (`on_cloth`), so that no background belongs to a kind of object. What resembles the
things that photos are most wanted of (`related_to`) gets more crops, by label (`related`) and one by one (`alike`).
Each batch is learned from in `parts` side by side, one for each core or two, by Muon: the step of a weight matrix is
made orthogonal (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks").

The shipped backbone is one run from nothing and a second one from its weights, on crops that the first had not seen:

    python -m training.pretrain FIRST --teacher densenet169-imagenet --views 5 3 1 --min-scale 0.3 0.75 0.3 \
        --pictures photos-144.npz photos-144.npz tiny-imagenet-64.npz \
        --set parts=2 epochs=9 sizes=[96,96,96,96,96,112,112,128,128] composed=3 related=6 \
        'related_to=["bags","shoes","clothes"]' colour=0.35 sharpness=0.6 use_pixels=160 seed=5
    python -m training.pretrain SECOND --start FIRST/backbone --teacher densenet169-imagenet --views 10 4 1 \
        --min-scale 0.3 0.75 0.3 --pictures photos-144.npz photos-144.npz tiny-imagenet-64.npz \
        --set parts=2 epochs=4 sizes=[96,112,128,128] composed=10 on_cloth=0.6 related=6 alike=24 \
        'related_to=["bags","shoes","clothes"]' colour=0.35 sharpness=0.6 learning_rate=0.008 use_pixels=160 \
        mean_of=3 seed=6

in 97 and 88 minutes of two cores, after 26 and 34 minutes of teacher; `builtin/log.txt` is the log of both. Result:
top-1 51.4 % of the validation pictures. Frozen with a plain logistic regression it tells handbags from shoes with 100 %
(shop pictures, five-fold) and 96.2 % (web and phone photos), 90.8 % trained on the former and evaluated on the latter,
98.4 % the other way round. One seed each: the spread is not known.
"""
