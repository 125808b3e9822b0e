"""What tests share: small networks, writers of foreign files, servers, and the command line."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
