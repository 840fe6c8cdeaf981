"""The app's project hangs together: Xcode itself is on macOS alone."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from ios_harness.transports import DEFAULT_ID, EXECUTABLE

APP = Path(__file__).parents[4] / "ios_harness" / "app"
PROJECT = APP / f"{EXECUTABLE}.xcodeproj"
TEXT = (PROJECT / "project.pbxproj").read_text()
ID = r"\b[0-9A-F]{24}\b"


def test_every_object_that_is_named_is_there() -> None:
    made = re.findall(rf"^\t\t({ID})(?: /\*.*?\*/)? = \{{", TEXT, re.MULTILINE)
    assert len(made) == len(set(made)) > 15
    assert set(re.findall(ID, TEXT)) == set(made)
    assert TEXT.count("{") == TEXT.count("}")
    assert TEXT.count("(") == TEXT.count(")")


def test_it_builds_what_is_in_the_folders() -> None:
    (package,) = re.findall(r"relativePath = (\S+);", TEXT)
    manifest = (APP / package / "Package.swift").read_text()
    products = re.findall(r"productName = (Runner\w+);", TEXT)
    assert len(products) == 2
    assert all(f'.library(name: "{product}"' in manifest for product in products)
    (group,) = re.findall(r"PBXFileSystemSynchronizedRootGroup; path = (\w+);", TEXT)
    assert list((APP / group).glob("*.swift"))
    (oldest,) = re.findall(r"IPHONEOS_DEPLOYMENT_TARGET = (\d+)", TEXT)
    assert f".iOS(.v{oldest})" in manifest


def test_the_harness_looks_for_the_app_that_it_makes() -> None:
    assert f"PRODUCT_BUNDLE_IDENTIFIER = {DEFAULT_ID};" in TEXT
    assert f"PRODUCT_NAME = {EXECUTABLE};" in TEXT


def test_the_scheme_is_the_targets() -> None:
    scheme = PROJECT / "xcshareddata" / "xcschemes" / f"{EXECUTABLE}.xcscheme"
    references = list(ElementTree.parse(scheme).iter("BuildableReference"))
    assert references
    target = re.search(rf"({ID}) /\* {EXECUTABLE} \*/ = \{{\s*isa = PBXNativeTarget", TEXT)
    assert target is not None
    assert {row.get("BlueprintIdentifier") for row in references} == {target[1]}
