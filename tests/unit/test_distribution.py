"""The distribution plot: a well-formed picture whose bars follow the counts."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET

from feature_assets.distribution import distribution_plot
from feature_store.offline.profile import FeatureProfile, Profile

SVG = "{http://www.w3.org/2000/svg}"


def test_each_numeric_feature_has_its_bars() -> None:
    numbers = FeatureProfile("user_n_7d", 0, 0.0, 0.0, 10.0, 2.0, histogram=((0.0, 90.0), (5.0, 9.0), (10.0, 1.0)))
    constant = FeatureProfile("user_<one>", 0, 0.0, 1.0, 1.0, 1.0, histogram=((1.0, 5.0),))
    words = FeatureProfile("user_words", 0, 0.0)
    markdown = distribution_plot(Profile(100, 10, 0, (numbers, constant, words)))
    picture = ET.fromstring(base64.b64decode(markdown.split("base64,")[1].split(")")[0]))
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert texts == ["user_n_7d", "0", "10", "user_<one>", "1", "1"]
    first = picture.find(f"{SVG}g")
    assert first is not None
    heights = [float(bar.get("height", "0")) for bar in first.iter(f"{SVG}rect")]
    assert heights[0] > heights[10] > heights[19] > heights[1] == 0


def test_nothing_numeric_is_a_sentence() -> None:
    assert distribution_plot(Profile(0, 0, 0, ())) == "No numeric values in this run."
