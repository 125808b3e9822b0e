"""Digests of files are those that other programs publish."""

from tfalexnet.hub.digest import Digest


def test_digests_equal_the_published_examples(tmp_path):
    # FIPS 180-4's examples; Pro Git, chapter 10.2.
    published = [
        (b"abc", "sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (b"abc", "sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        (b"test content\n", "git", "d670460b4b4aece5915caf5c68d12f560a9fe3e4"),
    ]
    for content, algorithm, hexadecimal in published:
        (tmp_path / "file").write_bytes(content)
        assert Digest(algorithm, hexadecimal).of(tmp_path / "file") == hexadecimal
