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

Objects on white are also cut out and laid over other pictures (`--set composed=N`), so that no background belongs to a
kind of object, and what is exported may lie between the weights of --start and those trained (`blend`; Wortsman et al.
2022, "Robust fine-tuning of zero-shot models").

The shipped backbone came in three runs, each going on from the last:

    python -m training.pretrain FIRST --pictures photos-144.npz tiny-imagenet-64.npz --views 8 1 \
        --teacher densenet169-imagenet --set epochs=7 use_pixels=160
    python -m training.pretrain SECOND --pictures photos-144.npz photos-144.npz tiny-imagenet-64.npz --views 8 6 1 \
        --min-scale 0.3 0.75 0.3 --teacher densenet169-imagenet --start FIRST/backbone \
        --set epochs=6 sizes=[112,112,128] colour=0.35 warmup_steps=300
    python -m training.pretrain THIRD --pictures photos-144.npz photos-144.npz tiny-imagenet-64.npz --views 8 6 1 \
        --min-scale 0.3 0.75 0.3 --teacher densenet169-imagenet --start SECOND/backbone \
        --set epochs=4 sizes=[128,128,144,160] learning_rate=0.0015 warmup_steps=300 colour=0.35 sharpness=0.6 \
        composed=7 share=0.65 use_pixels=160 seed=2 blend=0.5

in about four hours of two busy cores, after an hour of teacher. `builtin/log.txt` holds the runs, epoch by epoch (the
second was announced with nine epochs and cut to six after its third). Result: top-1 45.9 % of the validation pictures.
Frozen with a linear head it tells handbags from shoes with 99.5 % (shop pictures, five-fold) and 94.6 % (web and phone
photos), 86 % trained on the former and evaluated on the latter, 96 % the other way round. One seed: the spread is not
known.
"""
