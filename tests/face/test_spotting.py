"""Faces are the photograph of `moving_face` under noise and a known expression, aligned exactly."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from mer_hf.face import spotting
from mer_hf.face.spotting import REGIONS, Phases, spot
from mer_hf.face.tracking import FaceTrack
from mer_hf.video.clip import compressed
from tests.moving_face import aligned, blink, brow_raise, raised_cosine, smile, squeezed_lids


def frames_of(phases: Phases) -> tuple[int | None, int | None, int | None]:
    return phases.onset, phases.apex, phases.offset


@pytest.fixture(scope="module")
def still():
    return aligned(seed=3)


@pytest.fixture(scope="module")
def raised():
    """Brows rise from frame 20, highest at 26, back at 33."""
    return aligned((raised_cosine(60, 20, 26, 33), brow_raise))


def test_a_still_face_in_noise_is_no_motion(still):
    phases = spot(*still)
    assert phases.outcome == "no_motion" and frames_of(phases) == (None, None, None)
    assert phases.candidates == () and phases.blinks == () and phases.source == "spotted"
    assert phases.curve.shape == (60,) and phases.curve.dtype == np.float32
    assert phases.curve.max() < phases.threshold


@pytest.mark.parametrize("noise, scale, seed", [(6.0, 1.2, 4), (4.0, 0.8, 5), (1.0, 1.2, 6)])
def test_no_false_alarm_whatever_the_noise_and_size(noise, scale, seed):
    assert spot(*aligned(noise=noise, scale=scale, seed=seed)).outcome == "no_motion"


def test_a_frozen_clip_is_no_motion(still):
    track, _ = still
    frozen = FaceTrack(np.stack([track.frames[0]] * 20), track.landmarks_xy[:20], track.to_clip[:20])
    phases = spot(frozen, np.arange(20) / 30)
    assert phases.outcome == "no_motion" and phases.curve.max() < 0.05


def test_a_compressed_still_face_is_no_motion():
    track, times_s = aligned(count=50, seed=8, through=lambda frames: compressed(frames, 30, 18))
    assert spot(track, times_s).outcome == "no_motion"


def test_skin_that_sticks_to_its_block_and_jumps_raises_the_threshold(still):
    """Strong compression leaves no jitter from frame to frame, but every region hops about by itself."""
    hops = np.random.default_rng(0).normal(0, 0.25, (10, len(REGIONS), 2))
    moved_xy = np.repeat(hops, 6, axis=0)
    _, curve, threshold = spotting._curve(moved_xy, 1 / 30, still[0], np.arange(60), None, window=True)
    assert np.median(np.abs(np.diff(moved_xy, 2, axis=0))) == 0 and curve.max() > 0.3
    assert curve.max() < threshold


@pytest.fixture(scope="module")
def settling():
    """Brows rise by two pixels over four seconds, and stay."""
    return aligned((2 * raised_cosine(120, 0, 119, 240), brow_raise), count=120, seed=9)


def test_slow_motion_is_one_long_movement(settling):
    phases = spot(*settling)
    assert phases.outcome == "expression" and len(phases.candidates) == 1
    assert phases.onset < 60 < phases.apex < 119 == phases.offset


def test_a_gap_in_a_face_that_has_moved_is_bridged(settling):
    track, times_s = settling
    found = np.ones(120, dtype=bool)
    found[90:96] = False
    bridged, whole = spot(replace(track, found=found), times_s), spot(*settling)
    np.testing.assert_allclose(frames_of(bridged), frames_of(whole), atol=4)
    assert np.abs(bridged.curve - whole.curve).max() < 0.3


def test_a_head_that_registration_left_shaking_does_not_move_by_itself(still):
    track, times_s = still
    wave = np.sin(2 * np.pi * np.arange(60) / 13)
    turns = [cv2.getRotationMatrix2D((112, 90), 0.3 * w, 1 + 0.003 * w) + [[0, 0, 0.4 * w]] * 2 for w in wave]
    shaken = [
        cv2.warpAffine(f, m, (224, 224), borderMode=1) for f, m in zip(track.frames, turns, strict=True)
    ]
    assert spot(replace(track, frames=np.stack(shaken)), times_s).outcome == "no_motion"


def test_a_blink_where_the_key_picture_is_due_leaves_no_step():
    track, _ = aligned((raised_cosine(60, 27, 30, 34), blink), seed=4)
    moved_xy, _ = spotting._region_motion(track, np.arange(60), 1 / 30)
    assert np.abs(moved_xy[29:33]).max() > 1.0
    assert np.abs(np.median(moved_xy[36:46], axis=0) - np.median(moved_xy[15:25], axis=0)).max() < 0.2


def test_what_most_regions_do_together_is_the_head(still):
    track, _ = still
    centres = np.stack([track.landmarks_xy.mean(0)[list(names)].mean(0) for names in REGIONS.values()])
    turn, zoom, shift = 0.004, 0.003, np.array([0.2, -0.1])
    head = (centres - 112) @ np.array([[zoom, turn], [-turn, zoom]]) + shift
    brows = np.array([[0.0, -0.6 if "brow" in name else 0.0] for name in REGIONS])
    assert np.abs(head).max() > 0.3
    left = spotting._without_head(np.stack([head, head + brows]), track)
    np.testing.assert_allclose(left, [0 * brows, brows], atol=0.06)


def test_phases_of_a_brow_raise(raised):
    phases = spot(*raised)
    assert phases.outcome == "micro_expression" and phases.source == "spotted"
    np.testing.assert_allclose(frames_of(phases), (20, 26, 33), atol=3)
    assert abs(phases.apex - 26) <= 2
    assert phases.candidates == (frames_of(phases),)
    assert 1.4 < phases.curve[26] < 2.0  # 0.75 px of the photograph is 1.8 px of the face at its peak


@pytest.mark.parametrize("fps", [25.0, 60.0, 200.0])
def test_apex_is_found_at_any_frame_rate(fps):
    count, at = round(1.0 * fps), np.array([0.4, 0.6, 0.82]) * fps
    onset, apex, offset = at.round().astype(int)
    phases = spot(*aligned((raised_cosine(count, onset, apex, offset), smile), count=count, fps=fps, seed=1))
    assert phases.outcome == "micro_expression"
    np.testing.assert_allclose(np.array(frames_of(phases)) / fps, at / fps, atol=0.08)


def test_a_weak_expression_in_noise_is_found():
    phases = spot(*aligned((0.5 * raised_cosine(60, 30, 35, 42), brow_raise), noise=4.0, seed=7))
    assert phases.outcome == "micro_expression" and abs(phases.apex - 35) <= 2


@pytest.mark.parametrize("lids", [blink, squeezed_lids])
def test_a_blink_alone_is_a_blink(lids):
    phases = spot(*aligned((raised_cosine(60, 27, 30, 34), lids), seed=4))
    assert phases.outcome == "blink" and frames_of(phases) == (None, None, None)
    assert len(phases.blinks) == 1 and phases.blinks[0][0] <= 29 and phases.blinks[0][1] >= 31


@pytest.mark.parametrize("blink_at", [12, 29])  # before the expression, and on its apex
def test_an_expression_beside_a_blink_is_found(blink_at):
    shut = raised_cosine(60, blink_at - 3, blink_at, blink_at + 3)
    phases = spot(*aligned((raised_cosine(60, 22, 29, 36), smile), (shut, blink), seed=2))
    assert phases.outcome == "micro_expression" and abs(phases.apex - 29) <= 3
    assert len(phases.blinks) == 1


def test_the_strongest_of_two_expressions_is_analysed_and_the_other_kept():
    weak, strong = 0.6 * raised_cosine(90, 15, 20, 26), raised_cosine(90, 60, 66, 72)
    phases = spot(*aligned((weak, brow_raise), (strong, brow_raise), count=90, seed=5))
    assert abs(phases.apex - 66) <= 2 and len(phases.candidates) == 2
    assert abs(phases.candidates[1][1] - 20) <= 2


def test_an_interval_that_loses_the_face_comes_last():
    weak, strong = 0.6 * raised_cosine(90, 15, 20, 26), raised_cosine(90, 60, 66, 72)
    track, times_s = aligned((weak, brow_raise), (strong, brow_raise), count=90, seed=5)
    steady = np.ones(90, dtype=bool)
    steady[63] = False
    unsteady = replace(track, steady=steady)
    phases = spot(unsteady, times_s)
    assert abs(phases.apex - 20) <= 2 and abs(phases.candidates[-1][1] - 66) <= 2


def test_strong_motion_counts_in_a_face_that_never_rests():
    """The mouth moves to and fro all the time, so that its usual distance from rest is large."""
    talking = 3.0 * np.sin(2 * np.pi * np.arange(90) / 22)
    phases = spot(*aligned((talking, smile), count=90, seed=5))
    assert phases.outcome == "micro_expression"


def test_an_expression_that_only_fades_at_the_start_has_no_onset_and_is_left():
    fading = raised_cosine(75, -10, -1, 8)
    assert spot(*aligned((fading, brow_raise), count=75, seed=5), window=True).outcome == "no_motion"


@pytest.mark.parametrize("lasts_s, outcome", [(0.3, "micro_expression"), (0.45, "micro_expression"),
                                              (0.7, "expression"), (2.0, "expression")])  # fmt: skip
def test_a_movement_of_any_length_is_found_whole(lasts_s, outcome):
    """Brows rise within 0.15 s at most, stay, and fall as fast."""
    onset, rise, offset = 30, min(4, round(10 * lasts_s)), 30 + round(30 * lasts_s)
    time = np.arange(120)
    raised = 1.2 * np.interp(time, [onset, onset + rise, offset - rise, offset], [0, 1, 1, 0])
    phases = spot(*aligned((raised, brow_raise), count=120, seed=6))
    assert phases.outcome == outcome and onset <= phases.apex <= offset
    np.testing.assert_allclose((phases.onset, phases.offset), (onset, offset), atol=3)


def test_a_movement_that_the_clip_cuts_off_reaches_its_ends():
    raised = raised_cosine(90, -2, 30, 100)
    phases = spot(*aligned((raised - raised[0], brow_raise), count=60, seed=6))
    assert phases.outcome == "expression" and phases.onset <= 8 and phases.offset == 59


def test_a_face_that_settles_elsewhere_ends_its_movement_there():
    moved = raised_cosine(120, 30, 36, 44)
    moved[40:] = np.maximum(moved[40:], 0.3)
    phases = spot(*aligned((1.5 * moved, brow_raise), count=120, seed=6))
    assert phases.outcome == "micro_expression"
    np.testing.assert_allclose(frames_of(phases), (30, 36, 42), atol=4)


def test_short_clip_from_rest_to_apex_ends_at_its_last_frame():
    """Half a second: one expression that starts from rest and need not return."""
    phases = spot(*aligned((raised_cosine(15, 2, 13, 30), brow_raise), count=15))
    assert phases.outcome == "micro_expression"
    assert phases.onset <= 6 and 8 <= phases.apex <= 13 and phases.offset == 14


def test_without_times_the_whole_clip_is_one_expression(raised):
    track, times_s = raised
    for unknown in (None, np.full(60, np.nan)):
        phases = spot(track, unknown)
        assert abs(phases.apex - 26) <= 2 and len(phases.candidates) == 1
        assert len(phases.warnings) == 1 and "frame rate is unknown" in phases.warnings[0]
    assert spot(track, times_s).warnings == ()


def test_known_frames_always_win(raised, still):
    for clip in (raised, still):
        phases = spot(*clip, onset=5, apex=9, offset=12)
        assert frames_of(phases) == (5, 9, 12)
        assert phases.source == "given" and phases.outcome == "micro_expression"


def test_missing_frames_are_spotted_around_the_known_ones(raised):
    phases = spot(*raised, onset=21)
    assert phases.onset == 21 and abs(phases.apex - 26) <= 2 and abs(phases.offset - 33) <= 3
    phases = spot(*raised, apex=25)
    assert phases.apex == 25 and abs(phases.onset - 20) <= 3 and abs(phases.offset - 33) <= 3
    phases = spot(*raised, onset=19, offset=40)
    assert (phases.onset, phases.offset) == (19, 40) and abs(phases.apex - 26) <= 2
    phases = spot(*raised, offset=34)
    assert phases.offset == 34 and abs(phases.apex - 26) <= 2 and abs(phases.onset - 20) <= 3


def test_apex_of_a_still_clip_between_known_frames_is_put_midway_with_a_warning(still):
    phases = spot(*still, onset=10, offset=30)
    assert frames_of(phases) == (10, 20, 30) and phases.source == "midpoint"
    assert any("put midway" in line for line in phases.warnings)
    phases = spot(*still, apex=30)
    assert phases.apex == 30 and phases.onset < 30 <= phases.offset
    assert any("a guess" in line for line in phases.warnings)


@pytest.mark.parametrize(
    "known, message",
    [
        ({"onset": -1}, "onset -1 lies outside the clip, whose frames are 0 to 59"),
        ({"apex": 60}, "apex 60 lies outside"),
        ({"onset": 9, "apex": 5}, "expected onset <= apex <= offset, got onset 9, apex 5"),
        ({"apex": 9, "offset": 5}, "got apex 9, offset 5"),
    ],
)
def test_impossible_frames_are_refused_in_one_line(still, known, message):
    with pytest.raises(ValueError, match=message) as error:
        spot(*still, **known)
    assert "\n" not in str(error.value)


def test_another_number_of_timestamps_is_refused(still):
    with pytest.raises(ValueError, match="expected 60 timestamps, one per frame, got 59"):
        spot(still[0], still[1][:-1])


def test_frames_without_a_face_do_not_move(still):
    track, times_s = still
    frames, found = track.frames.copy(), np.ones(60, dtype=bool)
    frames[25:31], found[25:31] = 0, False
    lost = FaceTrack(frames, track.landmarks_xy, track.to_clip, (), found)
    assert spot(lost, times_s).outcome == "no_motion"


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_very_short_clips_do_not_fail(still, count):
    track, times_s = still
    short = FaceTrack(track.frames[:count], track.landmarks_xy[:count], track.to_clip[:count])
    assert spot(short, times_s[:count]).outcome == "no_motion"
    assert frames_of(spot(short, None, onset=0, apex=count - 1))[:2] == (0, count - 1)


def test_two_hundred_frames_a_second_are_thinned_and_averaged():
    at = spotting._sampled(200, np.arange(200) / 200)
    assert at[0] == 0 and at[-1] == 199 and 60 <= len(at) <= 68
    assert len(spotting._sampled(60, np.arange(60) / 30)) == 60
