"""Learning asked for over HTTP: a table of jobs, and the process that runs each."""
