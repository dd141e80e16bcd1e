"""The recipe of the built-in backbone: a small ResNet that imitates a large network.

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

Run it with `python -m training.pretrain WORK --pictures A.npz B.npz --teacher FOLDER`.
"""
