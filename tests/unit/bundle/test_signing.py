"""Signed bundles: the key's owner made this manifest, or the bundle is refused with one line."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from exporter.bundle.folder import open_bundle, seal, sign
from exporter.bundle.signing import SIGNATURE, Signer, Verifier
from exporter.errors import BundleError, RequestError
from runtimes.cli import main
from tests.unit.tiny_bundle import rewrite

PEM, RAW = serialization.Encoding.PEM, serialization.Encoding.OpenSSH
PKCS8, SSH = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.OpenSSH
PLAIN = serialization.NoEncryption()
SECRET = serialization.BestAvailableEncryption(b"secret")
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo


def write(path, content, mode=0o600):
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.fixture
def keys(tmp_path):
    """Private and public key files of one key, in both forms."""
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key()
    openssh = public.public_bytes(RAW, serialization.PublicFormat.OpenSSH)
    return {
        "pem": write(tmp_path / "key.pem", key.private_bytes(PEM, PKCS8, PLAIN)),
        "pem.pub": write(tmp_path / "key.pub", public.public_bytes(PEM, SPKI), 0o644),
        "ssh": write(tmp_path / "id", key.private_bytes(PEM, SSH, PLAIN)),
        "ssh.pub": write(tmp_path / "id.pub", openssh + b" somebody@host\n", 0o644),
    }


@pytest.fixture
def folder(tmp_path, tiny_folder):
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


@pytest.mark.parametrize("private", ["pem", "ssh"])
@pytest.mark.parametrize("public", ["pem.pub", "ssh.pub"])
def test_a_signed_bundle_is_verified_by_either_form_of_the_key(folder, keys, private, public):
    sign(folder, Signer.load(keys[private]))
    assert open_bundle(folder, keys[public]).manifest == open_bundle(folder).manifest
    before = (folder / SIGNATURE).read_bytes()
    sign(folder, Signer.load(keys[private]))
    assert (folder / SIGNATURE).read_bytes() == before


def test_sealing_signs_and_sealing_again_drops_an_old_signature(folder, keys):
    manifest = open_bundle(folder).manifest
    seal(folder, manifest, Signer.load(keys["pem"]))
    assert open_bundle(folder, keys["pem.pub"]).manifest == manifest
    assert SIGNATURE not in manifest.files
    seal(folder, manifest)
    assert not (folder / SIGNATURE).exists()


def test_line_ends_do_not_break_a_signature_and_anything_else_does(folder, keys):
    sign(folder, Signer.load(keys["pem"]))
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    signature = folder / SIGNATURE
    signature.write_bytes(signature.read_bytes().replace(b"\n", b"\r\n"))
    assert open_bundle(folder, keys["pem.pub"])
    rewrite(folder, lambda data: data["licence"].update(commercial_use=False))
    with pytest.raises(BundleError, match="not a signature of this manifest"):
        open_bundle(folder, keys["pem.pub"])


def test_the_signature_is_verified_before_anything_is_parsed(folder, keys):
    sign(folder, Signer.load(keys["pem"]))
    (folder / "manifest.json").write_bytes(b"[" * 100_000)
    with pytest.raises(BundleError, match="not a signature of this manifest"):
        open_bundle(folder, keys["pem.pub"])


def test_another_key_an_unsigned_bundle_and_a_torn_signature_are_named(folder, keys, tmp_path):
    with pytest.raises(BundleError, match=r"is not signed: it has no manifest\.sig"):
        open_bundle(folder, keys["pem.pub"])
    sign(folder, Signer.load(keys["pem"]))
    other = ed25519.Ed25519PrivateKey.generate()
    public = write(tmp_path / "other.pub", other.public_key().public_bytes(PEM, SPKI))
    with pytest.raises(BundleError, match="another key made it"):
        open_bundle(folder, public)
    private = write(tmp_path / "other.pem", other.private_bytes(PEM, PKCS8, PLAIN))
    with pytest.raises(RequestError, match="is signed by another key: give --force"):
        sign(folder, Signer.load(private))
    for content in (b"", b"AAAA", b"\xff\xfe", b"=" * 88, base64.b64encode(bytes(65))):
        (folder / SIGNATURE).write_bytes(content)
        with pytest.raises(BundleError, match="no Ed25519 signature in base64"):
            open_bundle(folder, keys["pem.pub"])


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o602])
def test_a_private_key_that_others_can_read_is_refused(keys, mode):
    keys["pem"].chmod(mode)
    with pytest.raises(RequestError, match=r"others can read the private key .*: chmod 600"):
        Signer.load(keys["pem"])


def bad_keys():
    key, curve = ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(PEM, SPKI)
    pem = key.private_bytes(PEM, PKCS8, PLAIN)
    return {
        "encrypted": (key.private_bytes(PEM, PKCS8, SECRET), "is encrypted"),
        "another kind": (curve.private_bytes(PEM, PKCS8, PLAIN), "signatures are Ed25519"),
        "public": (public, "is a public key"),
        "nothing": (b"", "no private key"),
        "noise": (bytes(range(256)), "no private key"),
        "cut": (pem[: len(pem) // 2], "holds no key that can be read|no private key"),
        "a header": (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "holds no key"),
        "large": (b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 10**6, "holds no key"),
    }


BAD = bad_keys()


@pytest.mark.parametrize("case", BAD)
def test_a_private_key_that_cannot_sign_is_one_line(tmp_path, case):
    content, message = BAD[case]
    with pytest.raises(RequestError, match=message) as caught:
        Signer.load(write(tmp_path / "key", content))
    assert str(caught.value).isprintable()


def test_a_public_key_that_cannot_verify_is_one_line(tmp_path, keys):
    curve = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(PEM, SPKI)
    for content, message in (
        (keys["pem"].read_bytes(), "is a private key; --verify-key takes the public one"),
        (curve, "signatures are Ed25519"),
        (b"", "is no public key"),
        (b"ssh-ed25519 AAAA\n", "holds no key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "holds no key"),
    ):
        with pytest.raises(RequestError, match=message) as caught:
            Verifier.load(write(tmp_path / "public", content))
        assert str(caught.value).isprintable()


def test_a_missing_key_and_a_folder_are_named(tmp_path):
    for path, words in (
        (tmp_path, "is a folder, not a key"),
        (tmp_path / "none", "is missing"),
        (Path("/dev/zero"), "is no plain file, so no key"),
        (Path("https://example.com/key.pem"), "is an address, not a path"),
    ):
        for load in (Signer.load, Verifier.load):
            with pytest.raises(RequestError, match=f"the key .* {words}"):
                load(path)


def test_a_public_key_given_to_sign_is_called_that_whoever_can_read_it(keys, tmp_path):
    for content, words in ((keys["ssh.pub"].read_bytes(), "a public key"), (b"?", "no private")):
        key = tmp_path / "key"
        key.write_bytes(content)
        key.chmod(0o644)
        with pytest.raises(RequestError, match=f"--sign: .* is {words}"):
            Signer.load(key)


def test_a_key_does_not_show_itself(keys):
    assert repr(Signer.load(keys["pem"])) == f"Signer({str(keys['pem'])!r})"


def test_sam_run_says_who_signed(folder, keys, capsys):
    sign(folder, Signer.load(keys["pem"]))
    assert main([str(folder), "--check", "--verify-key", str(keys["pem.pub"])]) == 0
    assert f"as exported, signed by {keys['pem.pub']}; engine" in capsys.readouterr().out
    assert main([str(folder), "--check", "--json", "--verify-key", str(keys["ssh.pub"])]) == 0
    assert '"signature": "verified"' in capsys.readouterr().out
    (folder / SIGNATURE).unlink()
    assert main([str(folder), "--check", "--verify-key", str(keys["pem.pub"])]) == 2
    assert "is not signed" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_makes_the_keys_and_verifies_the_signature(folder, tmp_path):
    key, public = tmp_path / "made.pem", tmp_path / "made.pub"
    run = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)]
    subprocess.run(run, check=True, capture_output=True)
    key.chmod(0o600)
    run = ["openssl", "pkey", "-in", str(key), "-pubout", "-out", str(public)]
    subprocess.run(run, check=True, capture_output=True)
    sign(folder, Signer.load(key))
    assert open_bundle(folder, public)
    raw = tmp_path / "raw.sig"
    raw.write_bytes(base64.b64decode((folder / SIGNATURE).read_bytes()))
    run = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(public), "-rawin"]
    run += ["-in", str(folder / "manifest.json"), "-sigfile", str(raw)]
    assert b"Verified" in subprocess.run(run, check=True, capture_output=True).stdout


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_ssh_keygen_makes_keys_too(folder, tmp_path):
    run = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "id")]
    subprocess.run(run, check=True, capture_output=True)
    sign(folder, Signer.load(tmp_path / "id"))
    assert open_bundle(folder, tmp_path / "id.pub")
    run = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(tmp_path / "id")]
    subprocess.run(run, check=True, capture_output=True)
    with pytest.raises(RequestError, match="is encrypted"):
        Signer.load(tmp_path / "id")


def test_opening_a_bundle_needs_no_cryptography(folder):
    code = "import sys; sys.modules['cryptography'] = None\n"
    code += "from exporter.bundle.folder import open_bundle; open_bundle(sys.argv[1])"
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=root, check=True)
