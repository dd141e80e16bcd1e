"""The unknown score at serving time."""

import numpy as np
import pytest
from handful.service.artifact.errors import ArtifactInconsistent
from handful.service.artifact.unknown import UnknownDetector

DETECTOR = UnknownDetector.of(np.array([[2, 0, 0], [0, 5, 0]], dtype=np.float32), 0.3)


def test_score_is_the_angle_to_the_nearest_label_whatever_the_length() -> None:
    embeddings = np.array([[9, 0, 0], [0, 0.1, 0], [0, 0, 4], [1, 1, 0]], dtype=np.float32)
    assert DETECTOR.score(embeddings) == pytest.approx([0, 0, 1, 1 - 2**-0.5], abs=1e-6)
    assert DETECTOR.is_unknown(embeddings).tolist() == [False, False, True, False]


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_embedding_without_direction_is_unknown(value: float) -> None:
    assert DETECTOR.is_unknown(np.full((1, 3), value, dtype=np.float32)).all()


def test_parts_restore_the_detector() -> None:
    restored = UnknownDetector.from_parts(DETECTOR.tensors, DETECTOR.settings)
    assert np.array_equal(restored.directions, DETECTOR.directions)
    assert restored.threshold == DETECTOR.threshold


def test_another_method_is_an_error() -> None:
    with pytest.raises(ArtifactInconsistent, match="'knn'"):
        UnknownDetector.from_parts(DETECTOR.tensors, {"method": "knn", "threshold": 0.1})


def test_missing_tensor_is_an_error() -> None:
    with pytest.raises(ArtifactInconsistent, match=r"unknown\.directions"):
        UnknownDetector.from_parts({}, DETECTOR.settings)
