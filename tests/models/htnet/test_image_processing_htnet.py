"""HTNet's processor: maps, mosaics, clips, and back to the face."""

import numpy as np
import pytest
import torch
from PIL import Image

from mer_hf.models.htnet import HTNetImageProcessor
from tests.models.tiny import tiny_clip

FIVE_POINTS_28 = np.array(
    [
        (9.528073, 11.062551),
        (21.396168, 10.919773),
        (15.380184, 17.380562),
        (10.255435, 22.121233),
        (20.583706, 22.25584),
    ]
)


def coordinate_maps(count: int = 1) -> np.ndarray:
    """Flow maps that say where they are: u is the row, v the column, strain the number of the map."""
    row, column = np.mgrid[:28, :28]
    return np.stack([np.dstack([row, column, np.full_like(row, i)]) for i in range(count)]).astype(np.uint8)


def face_mesh(points_xy: np.ndarray) -> np.ndarray:
    """Face-mesh landmarks (478, 2) whose eyes and mouth corners are four given points."""
    mesh = np.full((478, 2), -1.0)
    left_eye, right_eye, left_mouth, right_mouth = points_xy
    half_eye = np.array([2, 0])
    mesh[33], mesh[133] = left_eye - half_eye, left_eye + half_eye
    mesh[362], mesh[263] = right_eye - half_eye, right_eye + half_eye
    mesh[61], mesh[291] = left_mouth, right_mouth
    return mesh


def boxes_of(pixel_values: np.ndarray) -> list[tuple[int, int]]:
    """First row and column of the areas in the cells of a mosaic of `coordinate_maps`."""
    _, column, row = pixel_values
    return [(int(row[r, c]), int(column[r, c])) for r in (0, 14) for c in (0, 14)]


@pytest.mark.parametrize(
    "mosaic, boxes",
    [
        # Worked by hand from the fallback landmarks: clamp to 7..21, cut off the decimals, minus 7.
        ("original", [(2, 4), (14, 3), (3, 14), (13, 14)]),  # row from x, column from y
        ("corrected", [(4, 2), (3, 14), (14, 3), (14, 13)]),  # row from y, column from x
    ],
)
def test_areas_of_the_default_centres(mosaic, boxes):
    processor = HTNetImageProcessor(mosaic=mosaic)
    assert boxes_of(processor(flow_maps=coordinate_maps())["pixel_values"][0]) == boxes
    # The same places as landmarks of a face of 224 pixels, in both numberings, for a frame and for a clip.
    five = 8 * FIVE_POINTS_28
    mesh = face_mesh(five[[0, 1, 3, 4]])
    for landmarks in (five, mesh, np.stack([mesh - 1, mesh + 1])):
        found = processor(flow_maps=coordinate_maps(), landmarks_xy=landmarks)["pixel_values"]
        assert boxes_of(found[0]) == boxes


def test_given_centres_are_rows_and_columns_in_both_mosaics():
    centers = [[10, 8], [12.9, 20], [30, 9], [20, -3]]  # the last two are clamped: 21 and 7
    for mosaic in ("original", "corrected"):
        processor = HTNetImageProcessor(mosaic=mosaic, crop_centers_rc=centers)
        found = processor(flow_maps=coordinate_maps())["pixel_values"][0]
        assert boxes_of(found) == [(3, 1), (5, 13), (14, 2), (13, 0)]


def test_channels_are_strain_v_u_and_values_are_kept():
    maps = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 3), dtype=np.uint8)
    processor = HTNetImageProcessor(mosaic="corrected", crop_centers_rc=[[7, 7], [7, 21], [21, 7], [21, 21]])
    found = processor(flow_maps=maps, return_tensors="pt")["pixel_values"]
    assert found.dtype == torch.float32  # these centres tile the map: the mosaic is the map
    np.testing.assert_array_equal(found.numpy(), maps[..., ::-1].transpose(0, 3, 1, 2))


def test_every_map_may_have_its_own_landmarks():
    processor = HTNetImageProcessor(mosaic="corrected")
    moved = 8 * (FIVE_POINTS_28 + np.array([2, 1]))
    found = processor(flow_maps=coordinate_maps(3), landmarks_xy=[None, moved, 8 * FIVE_POINTS_28])
    boxes = [boxes_of(p) for p in found["pixel_values"]]
    assert boxes[0] == boxes[2] == [(4, 2), (3, 14), (14, 3), (14, 13)]
    assert boxes[1] == [(5, 4), (4, 14), (14, 5), (14, 14)]
    assert [p[0].max() for p in found["pixel_values"]] == [0, 1, 2]


def test_standardized_maps_have_median_zero_and_deviation_one_before_they_are_cut():
    maps = np.random.default_rng(0).gamma(2, 20, (5, 28, 28, 3)).clip(0, 255).astype(np.uint8)
    tiles = [[7, 7], [7, 21], [21, 7], [21, 21]]
    processor = HTNetImageProcessor(normalization="standardize", crop_centers_rc=tiles)
    found = processor(flow_maps=maps)["pixel_values"]
    expected = maps.astype(np.float64)
    expected = (expected - np.median(expected, axis=(1, 2), keepdims=True)) / expected.std(
        axis=(1, 2), keepdims=True
    )
    np.testing.assert_allclose(
        found, expected.clip(-5, 5)[..., ::-1].transpose(0, 3, 1, 2), rtol=0, atol=1e-4
    )
    assert found.max() == 5


def test_standardized_maps_do_not_depend_on_their_scale():
    maps = np.random.default_rng(0).integers(0, 80, (4, 28, 28, 3), dtype=np.uint8)
    processor = HTNetImageProcessor(normalization="standardize")
    scaled = processor(flow_maps=3 * maps + 10)["pixel_values"]
    np.testing.assert_allclose(scaled, processor(flow_maps=maps)["pixel_values"], rtol=0, atol=1e-5)


def test_a_constant_channel_is_standardized_to_zero():
    maps = np.full((1, 28, 28, 3), 77, dtype=np.uint8)
    assert (HTNetImageProcessor(normalization="standardize")(flow_maps=maps)["pixel_values"] == 0).all()


@pytest.mark.parametrize("method", ["dis", "tvl1"])
def test_motion_in_a_clip_appears_where_it_is(method):
    # A bump at 0.4 of the height and 0.3 of the width moves down: at (11, 8) of the map, in the area of the
    # image-left eye, which begins at (4, 2).
    processor = HTNetImageProcessor(mosaic="corrected", normalization="standardize", flow_method=method)
    _, v, _ = processor(images=tiny_clip(size=128), onset=0, apex=4)["pixel_values"][0]
    row, column = np.unravel_index(v.argmax(), v.shape)
    assert abs(row - 7) <= 2 and abs(column - 6) <= 2
    assert v.max() > 3 and v[14:].max() < v.max() / 2


def test_clips_span_0_to_255_in_each_channel_as_the_original_maps_do():
    processor = HTNetImageProcessor(crop_centers_rc=[[7, 7], [7, 21], [21, 7], [21, 21]])
    found = processor(images=tiny_clip(), onset=0, apex=4)["pixel_values"][0]
    assert found.min(axis=(1, 2)).tolist() == [0, 0, 0]
    assert found.max(axis=(1, 2)).tolist() == [255, 255, 255]
    assert (found == np.round(found)).all()


def test_clips_come_in_many_forms_with_the_same_result():
    clip = tiny_clip()
    processor = HTNetImageProcessor(flow_method="dis")
    expected = processor(images=clip, onset=0, apex=2)["pixel_values"]
    pictures = [Image.fromarray(frame) for frame in clip]
    for one in (
        list(clip),
        pictures,
        tuple(pictures),
        torch.from_numpy(clip),
        clip[None],
        [clip],
        [pictures],
    ):
        found = processor(images=one, onset=0, apex=2)["pixel_values"]
        np.testing.assert_array_equal(found, expected)
    default = processor(pictures)["pixel_values"]  # the first and the middle of five frames
    np.testing.assert_array_equal(default, expected)
    two = processor(images=[clip, pictures[1:]], onset=[0, 1], apex=[2, 3], offset=[4, 3])["pixel_values"]
    np.testing.assert_array_equal(two[:1], expected)
    np.testing.assert_array_equal(two[1:], processor(images=clip, onset=2, apex=4)["pixel_values"])


def test_landmarks_scale_with_the_faces_they_were_found_on():
    clip = tiny_clip(size=112)
    processor = HTNetImageProcessor(flow_method="dis", mosaic="corrected")
    expected = processor(images=clip, onset=0, apex=3)["pixel_values"]
    mesh = face_mesh(4 * FIVE_POINTS_28[[0, 1, 3, 4]])
    found = processor(images=clip, onset=0, apex=3, landmarks_xy=np.stack([mesh] * 5))["pixel_values"]
    np.testing.assert_array_equal(found, expected)
    found = processor(images=[clip, clip], onset=0, apex=3, landmarks_xy=[mesh, None])["pixel_values"]
    np.testing.assert_array_equal(found, np.concatenate([expected, expected]))


def test_frames_are_averaged_around_onset_and_apex():
    clip = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)

    def mean(*frames):
        return np.round(clip[list(frames)].mean(axis=0)).astype(np.uint8)

    one, three = (HTNetImageProcessor(flow_method="dis", average_frames=n) for n in (1, 3))
    for onset, apex, start, peak in [
        (1, 7, mean(0, 1, 2), mean(6, 7, 8)),
        (0, 8, mean(0, 1), mean(7, 8)),  # bounded to the clip
        (3, 5, mean(3, 4), mean(5, 6)),  # so near that three each would share a frame: two each
        (3, 4, clip[3], clip[4]),
    ]:
        expected = one(images=np.stack([start, peak]), onset=0, apex=1)["pixel_values"]
        np.testing.assert_array_equal(three(images=clip, onset=onset, apex=apex)["pixel_values"], expected)


def test_one_frame_as_onset_and_apex_gives_an_empty_map():
    for normalization in ("none", "standardize"):
        processor = HTNetImageProcessor(flow_method="dis", normalization=normalization)
        assert (processor(images=tiny_clip(), onset=2, apex=2)["pixel_values"] == 0).all()


@pytest.mark.parametrize(
    "given, message",
    [
        ({}, "either images"),
        ({"images": tiny_clip(), "flow_maps": coordinate_maps()}, "either images"),
        ({"flow_maps": coordinate_maps().astype(np.float32)}, r"uint8.*got float32 \(1, 28, 28, 3\)"),
        ({"flow_maps": coordinate_maps()[..., :2]}, r"got uint8 \(1, 28, 28, 2\)"),
        ({"flow_maps": coordinate_maps(), "landmarks_xy": np.zeros((68, 2))}, r"got \(68, 2\)"),
        ({"flow_maps": coordinate_maps(), "landmarks_xy": np.full((5, 2), np.nan)}, "not finite"),
        ({"flow_maps": coordinate_maps(3), "landmarks_xy": [None, None]}, "for 3 clips, got 2"),
        ({"images": tiny_clip().astype(np.float32)}, "got float32"),
        ({"images": tiny_clip()[..., :2]}, r"\(64, 64, 2\) at frame 0"),
        ({"images": tiny_clip()[:, :32]}, r"\(32, 64, 3\) at frame 0. Crop the face"),
        ({"images": tiny_clip()[0]}, r"aligned faces of shape \(S, S, 3\), uint8 RGB, got uint8 \(3,\)"),
        ({"images": []}, "got none"),
        ({"images": tiny_clip()[:0]}, "got none"),
        ({"images": [tiny_clip(), tiny_clip()[:0]]}, "empty clip"),
        ({"images": tiny_clip(size=20)}, "at least 28 pixels wide, got 20"),
        ({"images": [tiny_clip()[0], tiny_clip(size=32)[0]], "apex": 1}, "same size, got 64x64 and 32x32"),
        ({"images": tiny_clip(), "onset": 5}, "onset must be a frame of the clip, 0 to 4, got 5"),
        ({"images": tiny_clip(), "onset": -1}, "0 to 4, got -1"),
        ({"images": tiny_clip(), "apex": 9}, "apex must be a frame of the clip, 0 to 4, got 9"),
        ({"images": tiny_clip(), "onset": 3, "apex": 2}, "onset=3 and apex=2"),
        ({"images": tiny_clip(), "onset": 1.5}, "whole number"),
        ({"images": tiny_clip(), "onset": [0, 1]}, "one onset for each of 1 clips, got 2"),
    ],
)
def test_bad_input_is_refused_in_one_line(given, message):
    with pytest.raises(ValueError, match=message) as error:
        HTNetImageProcessor(flow_method="dis")(**given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"mosaic": "straight"}, "unknown mosaic 'straight'. Choose one of original, corrected"),
        ({"flow_method": "farneback"}, "unknown flow_method"),
        ({"normalization": "minmax"}, "unknown normalization"),
        ({"size": 30}, "multiple of 4, got 30"),
        ({"crop_centers_rc": [[1, 2], [3, 4]]}, r"4 pairs \(row, column\), got shape \(2, 2\)"),
    ],
)
def test_unknown_settings_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        HTNetImageProcessor(**given)


def test_to_face_puts_each_cell_where_it_was_cut():
    processor = HTNetImageProcessor(mosaic="corrected", face_geometry={"size": 28})
    mosaic = np.zeros((4, 28, 28), dtype=np.float32)
    for cell, (r, c) in enumerate([(0, 0), (0, 14), (14, 0), (14, 14)]):
        mosaic[cell, r : r + 14, c : c + 14] = 1
    for face, (r, c) in zip(processor.to_face(mosaic), [(4, 2), (3, 14), (14, 3), (14, 13)], strict=True):
        inside = np.zeros((28, 28), dtype=bool)
        inside[r : r + 14, c : c + 14] = True
        assert (face[~inside] == 0).all() and set(np.unique(face[inside])) <= {
            0.5,
            np.float32(1 / 3),
            0.25,
            1,
        }
        assert (face[inside] == 1).any()


def test_to_face_averages_where_areas_overlap():
    processor = HTNetImageProcessor(
        crop_centers_rc=[[7, 7], [7, 15], [21, 7], [21, 21]], face_geometry={"size": 28}
    )
    mosaic = np.zeros((28, 28), dtype=np.float32)
    mosaic[:14, :14], mosaic[:14, 14:] = 4, 2  # columns 0..13 and 8..21 of the face
    face = processor.to_face(mosaic)
    assert face.shape == (1, 28, 28)
    assert face[0, 5, [0, 7, 8, 13, 14, 21, 22]].tolist() == [4, 4, 3, 3, 2, 2, 0]


def test_to_face_follows_the_geometry_and_the_landmarks():
    processor = HTNetImageProcessor(mosaic="corrected")
    coarse = torch.zeros(1, 4, 4)
    coarse[0, :2, :2] = 1  # the whole image-left eye
    default = processor.to_face(coarse)
    assert default.shape == (1, 224, 224) and default.dtype == np.float32
    assert default[0, 88, 76] == 1 and default[0, 60, 150] == 0
    moved = processor.to_face(coarse, {"size": 112}, landmarks_xy=4 * (FIVE_POINTS_28 + np.array([6, 0])))
    assert moved.shape == (1, 112, 112)
    rows, columns = np.nonzero(moved[0] > 0.9)
    assert columns.min() >= 4 * 8 and rows.min() >= 4 * 4  # the area begins at row 4, column 8 of the map


@pytest.mark.parametrize("normalization", ["none", "standardize"])
def test_without_strain_its_channel_is_zero_and_the_flow_is_untouched(normalization):
    flow_maps = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 3), dtype=np.uint8)
    full = HTNetImageProcessor(normalization=normalization)(flow_maps=flow_maps)["pixel_values"]
    less = HTNetImageProcessor(normalization=normalization, use_strain=False)(flow_maps=flow_maps)[
        "pixel_values"
    ]
    assert np.any(full[:, 0]) and not np.any(less[:, 0])
    np.testing.assert_array_equal(full[:, 1:], less[:, 1:])
