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

The shipped backbone came from

    python -m training.pretrain WORK --pictures photos-144.npz tiny-imagenet-64.npz --views 8 1 \
        --teacher densenet169-imagenet --set epochs=7

in about 75 minutes of two busy cores after half an hour of teacher: training loss 0.601, held-out cosine 0.577, top-1
38.7 % of 5,000 validation pictures. Frozen with a linear head it tells handbags from shoes with 100 % (shop pictures,
five-fold) and 90 % (web and phone photos), 85 and 95 % across the two. One run, one seed: the spread is not known.
"""
