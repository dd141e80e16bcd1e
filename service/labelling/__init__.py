"""`handful label`: the photos of a folder wait for a label, and lie in a folder of their label once they have one."""
