"""Many images -> one result file: the local engine, the files of rows."""
