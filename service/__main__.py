"""`python -m service` is `handful`."""

from service.cli import main

main()
