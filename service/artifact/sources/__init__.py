"""Where photos come from: a folder, an archive, a table, an export or a dataset -> files with labels and parts."""
