r"""The recipe of the built-in backbone: a small ResNet that imitates a large network (knowledge distillation).

There are three steps, and each one resumes where it was interrupted:

1. *views*: a few random crops of every picture, drawn once and kept as uint8 in one file;
2. *targets*: the embedding that the teacher (any timm network in the Hub's folder format) computes for each view,
   centred and reduced to its first principal components;
3. *student*: a timm ResNet whose projected embedding is trained to point in the direction of the target (cosine).
   Where a picture carries a label, a linear classifier on the same embedding is trained as well. The projection and
   the classifier are dropped afterwards.

Teacher and student see the same crop, which is what makes distillation work for long runs
(Beyer et al. 2022, "Knowledge distillation: a good teacher is patient and consistent"). Only the student's crops are
also mirrored, shifted a little, recoloured and partly erased. Without a teacher the same recipe trains on labels only.

Objects on a white background are also cut out and pasted on other pictures (`--set copy_paste=N`), so that the network
does not learn that a kind of object belongs to one background. A share of them (`on_texture`) is pasted on a small crop
from a picture's edge, which usually shows a floor or a fabric. Pictures that resemble the things that matter most
(`mining_sources`) get more crops; the teacher finds them label by label (`mined_by_label`) and picture by picture
(`mined_by_picture`). Each batch is split into `data_parallel` shards that are computed at the same time, one per core
or two, and the optimizer is Muon, which makes the step of a weight matrix orthogonal (Jordan et al. 2024, "Muon: an
optimizer for hidden layers in neural networks").

The shipped backbone is one run from random weights and a second one that starts from its result, on new crops:

    python -m handful.training.pretrain FIRST --teacher densenet169-imagenet --views 5 3 1 --min-scale 0.3 0.75 0.3 \
        --pictures photos-144.npz photos-144.npz tiny-imagenet-64.npz \
        --set data_parallel=2 epochs=9 sizes=[96,96,96,96,96,112,112,128,128] copy_paste=3 mined_by_label=6 \
        'mining_sources=["bags","shoes","clothes"]' colour=0.35 sharpness=0.6 use_pixels=160 seed=5
    python -m handful.training.pretrain SECOND --start FIRST/backbone --teacher densenet169-imagenet \
        --views 10 4 1 --min-scale 0.3 0.75 0.3 --pictures photos-144.npz photos-144.npz tiny-imagenet-64.npz \
        --set data_parallel=2 epochs=4 sizes=[96,112,128,128] copy_paste=10 on_texture=0.6 mined_by_label=6 \
        mined_by_picture=24 'mining_sources=["bags","shoes","clothes"]' colour=0.35 sharpness=0.6 \
        learning_rate=0.008 use_pixels=160 mean_of=3 seed=6

The runs took 97 and 88 minutes on two cores, after 26 and 34 minutes for the teacher; `builtin/resnet` has the log of
both. Result: top-1 51.4 % of the validation pictures. Frozen, with a plain logistic regression, it tells handbags from
shoes with 100 % on shop pictures and 96.2 % on web and phone photos (both in five-fold cross-validation), with 90.8 %
when trained on the former and evaluated on the latter, and with 98.4 % the other way round. Each run was made with one
seed, so the spread is not known.
"""
