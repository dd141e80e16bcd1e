"""Learning over HTTP: the table of jobs, and the process that runs each."""
