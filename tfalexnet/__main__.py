"""The command line as `python -m tfalexnet`."""

from tfalexnet.cli.main import main

if __name__ == "__main__":
    main()
