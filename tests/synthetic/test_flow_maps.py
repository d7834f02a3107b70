from dataclasses import replace

import cv2
import numpy as np
import pytest

from mer_hf.face.landmarks import eye_centres
from mer_hf.synthetic import FlowMapSettings, SyntheticFlowMaps
from mer_hf.synthetic.expressions import AU_SHARES, CLASSES, draw_expression
from mer_hf.synthetic.flow_maps import draw_flow, personal_basis
from mer_hf.synthetic.muscles import PULLS, au_basis, vertex_displacement
from mer_hf.synthetic.pictures import SIDE, draw_face, to_raster
from mer_hf.synthetic.template import face_template

QUIET = FlowMapSettings(
    filmed=0,
    noise=(1e-3, 1e-3),
    light=0,
    outliers=0,
    head=0,
    strong_head=0,
    blink=0,
    gaze=0,
    shrink=0,
    medians=0,
)


def test_a_sample_depends_on_seed_and_index_alone():
    first = SyntheticFlowMaps(seed=1, size=10)[7]
    again = SyntheticFlowMaps(seed=1, size=100)[7]
    shifted = SyntheticFlowMaps(seed=1, size=3, start=5)[2]
    np.testing.assert_array_equal(first["flow"], again["flow"])
    np.testing.assert_array_equal(first["flow"], shifted["flow"])
    assert not np.array_equal(first["flow"], SyntheticFlowMaps(seed=2, size=10)[7]["flow"])
    assert not np.array_equal(first["flow"], SyntheticFlowMaps(seed=1, size=10)[6]["flow"])


def test_every_channel_spans_the_range_of_a_published_map():
    for i in range(5):
        flow = SyntheticFlowMaps(seed=0, size=5)[i]["flow"]
        assert flow.shape == (28, 28, 3) and flow.dtype == np.uint8
        assert (flow.min(axis=(0, 1)) == 0).all() and (flow.max(axis=(0, 1)) == 255).all()


def test_index_out_of_range_and_negative_seed_are_refused():
    with pytest.raises(IndexError, match="sample 3 of 3"):
        SyntheticFlowMaps(seed=0, size=3)[3]
    with pytest.raises(ValueError, match="must not be negative"):
        SyntheticFlowMaps(seed=-1, size=3)


def test_classes_are_drawn_in_the_asked_shares():
    data = SyntheticFlowMaps(seed=0, size=60, settings=FlowMapSettings(class_shares=(1.0, 0.0, 0.0)))
    assert {data.begin(i)[1].label for i in range(60)} == {0} and data[3]["label"] == 0


@pytest.mark.parametrize("name", PULLS)
def test_an_au_driven_on_both_sides_is_symmetric_and_moves_its_strongest_vertex_by_the_drive(name):
    moved = vertex_displacement({name: (0.2, 0.2)})
    mirror = face_template()[1]
    np.testing.assert_allclose(moved, moved[mirror] * (-1.0, 1.0), atol=1e-12)
    assert np.linalg.norm(moved, axis=1).max() == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("name", "vertex", "direction_xy"),
    [
        ("AU1", 107, (0, -1)),  # inner brow up
        ("AU2", 70, (0, -1)),  # outer brow up
        ("AU4", 107, (1, 1)),  # image-left inner brow down and towards the midline
        ("AU12", 61, (-1, -1)),  # image-left mouth corner out and up
        ("AU15", 61, (0, 1)),  # mouth corner down
        ("AU17", 199, (0, -1)),  # chin up
        ("AU45", 159, (0, 1)),  # upper lid down
    ],
)
def test_aus_move_the_right_place_the_right_way(name, vertex, direction_xy):
    moved = vertex_displacement({name: (1.0, 1.0)})[vertex]
    for component, sign in zip(moved, direction_xy, strict=True):
        assert abs(component) < 0.3 if sign == 0 else component * sign > 0.2


def test_the_persons_right_side_is_on_the_left_of_the_picture():
    moved = np.linalg.norm(vertex_displacement({"AU12": (0.0, 1.0)}), axis=1)
    assert moved[61] > 0.5 > 0.05 > moved[291]


@pytest.mark.parametrize("label", range(3))
def test_expressions_show_aus_of_their_class_at_about_the_published_shares(label, monkeypatch):
    monkeypatch.delitem(AU_SHARES, "samm")
    rng = np.random.default_rng(0)
    drawn = [draw_expression(rng, label) for _ in range(600)]
    assert all(expression.activations for expression in drawn)
    for name, share in AU_SHARES["casme2"][CLASSES[label]].items():
        seen = np.mean([name in expression.activations for expression in drawn])
        # Empty draws are refilled, which lifts every share a little.
        assert share - 0.06 < seen < share + 0.12, name


def vertical_motion_by_row(data):
    vertical = np.stack([data[i]["flow"][..., 1].astype(float) for i in range(len(data))])
    return (vertical - np.median(vertical, axis=(1, 2), keepdims=True)).mean(axis=(0, 2))


def test_a_raised_brow_moves_the_upper_rows_up_and_a_smile_the_lower_rows():
    surprise = SyntheticFlowMaps(0, 40, FlowMapSettings(**{**QUIET.__dict__, "class_shares": (0, 0, 1)}))
    positive = SyntheticFlowMaps(0, 40, FlowMapSettings(**{**QUIET.__dict__, "class_shares": (0, 1, 0)}))
    brow, smile = vertical_motion_by_row(surprise), vertical_motion_by_row(positive)
    assert brow[:8].min() < -15 and abs(brow[16:24].mean()) < 8
    assert smile[12:24].min() < -15 and smile[12:24].min() < smile[:4].min() - 40


def test_muscles_that_reach_less_far_leave_more_of_the_face_at_rest():
    widths = []
    for reach in (0.4, 1.2):
        settings = replace(QUIET, reach=(reach, reach), muscle=0.01)
        field = personal_basis(np.random.default_rng(0), {"AU2": (1, 1)}, settings)["AU2"]
        widths.append(np.mean(np.linalg.norm(field, axis=1) > 0.2))
    assert 1.5 * widths[0] < widths[1]


def test_the_cheek_spreads_sideways_in_a_smile():
    below_the_eye = {name: vertex_displacement({name: (1.0, 1.0)})[117] for name in ("AU12", "AU6")}
    assert below_the_eye["AU12"][0] < -0.4 and abs(below_the_eye["AU12"][1]) < 0.3
    assert below_the_eye["AU6"][0] > 0 and below_the_eye["AU6"][1] < -0.8  # a raised cheek goes up, and in


def test_the_head_moves_much_in_the_asked_share_of_maps():
    """The spread of motion where nothing else moves: below the chin, relative to the expression's peak."""
    moved = {}
    for share in (0.0, 1.0):
        settings = replace(QUIET, strong_head=share)
        flows = [draw_flow(np.random.default_rng(i), {"AU2": (1, 1)}, settings) for i in range(20)]
        moved[share] = np.median([np.abs(flow[-12:, 20:36]).mean() for flow in flows])
    assert moved[0.0] < 0.05 < 0.15 < moved[1.0]


def test_every_au_has_a_basis_field():
    assert set(au_basis()) == set(PULLS)


@pytest.mark.parametrize("tvl1", [0.0, 1.0], ids=["dis", "tvl1"])
def test_a_filmed_map_does_not_depend_on_the_number_of_threads(tvl1):
    settings = FlowMapSettings(filmed=1.0, picture_px=(56,), tvl1=tvl1)
    before = cv2.getNumThreads()
    try:
        maps = []
        for threads in (1, 2):
            cv2.setNumThreads(threads)
            maps.append(SyntheticFlowMaps(0, 3, settings)[1]["flow"])
    finally:
        cv2.setNumThreads(before)
    np.testing.assert_array_equal(*maps)


@pytest.mark.parametrize("filmed", [0.0, 1.0], ids=["imitated", "filmed"])
def test_plane_means_are_near_those_of_the_published_maps(filmed):
    """Red, green and blue of the 442 published maps have the means 126, 135 and 25."""
    data = SyntheticFlowMaps(0, 40, FlowMapSettings(filmed=filmed, picture_px=(56,)))
    u, v, strain = np.mean([data[i]["flow"].mean(axis=(0, 1)) for i in range(40)], axis=0)
    assert 115 < u < 140 and 115 < v < 150 and 15 < strain < 45


def test_a_picture_takes_the_place_of_the_drawn_face():
    settings = FlowMapSettings(filmed=1.0, tvl1=0.0, picture_px=(56,))
    flat = SyntheticFlowMaps(0, 3, settings, picture=np.full((SIDE, SIDE), 128.0, np.float32))[0]["flow"]
    assert not np.array_equal(flat, SyntheticFlowMaps(0, 3, settings)[0]["flow"])


def test_drawn_faces_differ_and_have_eyes_darker_than_the_skin_between():
    faces = [draw_face(np.random.default_rng(i)) for i in range(12)]
    assert all(face.shape == (SIDE, SIDE) and np.isfinite(face).all() for face in faces)
    assert len({face.tobytes() for face in faces}) == 12
    vertices = face_template()[0][:, :2]
    bridge = np.round(to_raster(vertices[6])).astype(int)
    eyes = np.round(to_raster(eye_centres(vertices))).astype(int)
    darker = [
        min(face[y - 2 : y + 3, x - 5 : x + 6].min() for x, y in eyes) < face[bridge[1], bridge[0]]
        for face in faces
    ]
    assert np.mean(darker) > 0.8
